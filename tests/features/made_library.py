"""A small native library with the functions of DeepFilterNet's, compiled from C by the tests.

It answers with half of its input, late by 1,440 samples, plus ``drift``: the number of frames that
this state has processed before, times 1e-3. Sound above 2 makes it crash, sound below -2 makes it
hang.
"""

import subprocess

from redub.core.durable import file_digest
from redub.features.models.deepfilternet.library import MODEL
from redub.features.weights.folder import WeightFolder
from redub.features.weights.packages import PACKAGES, PackageFile, this_system

SOURCE = r"""
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <stdio.h>
typedef struct { float late[1440]; long frames; } State;
__attribute__((constructor)) static void loaded(void) {
    const char *mark = getenv("REDUB_TEST_LOADED");
    if (mark) { FILE *file = fopen(mark, "w"); if (file) fclose(file); }
}
State *df_create(const char *path, float limit_db, const char *log) {
    FILE *file = fopen(path, "r");
    if (!file || fgetc(file) == EOF) { if (file) fclose(file); return NULL; }
    fclose(file);
    return calloc(1, sizeof(State));
}
size_t df_get_frame_length(State *state) { return 480; }
float df_process_frame(State *state, float *in, float *out) {
    for (int i = 0; i < 480; i++) {
        if (in[i] > 2.0f) abort();
        if (in[i] < -2.0f) for (;;) sleep(1);
    }
    memcpy(out, state->late, sizeof(float) * 480);
    memmove(state->late, state->late + 480, sizeof(float) * 960);
    for (int i = 0; i < 480; i++) state->late[960 + i] = 0.5f * in[i] + DRIFT * state->frames;
    state->frames++;
    return 0;
}
"""


def made_library(folder, *, drift=0.0):
    """Compile the library into a folder of weights.

    Args:
        drift: added to the output for each frame that the state has seen.
    """
    folder.mkdir(parents=True, exist_ok=True)
    source = folder.parent / f"{folder.name}.c"
    source.write_text(SOURCE)
    library = folder / f"libdeepfilter-{this_system()}.so"
    command = ["cc", "-shared", "-fPIC", "-O1", f"-DDRIFT={drift}f", "-o", library, source]
    subprocess.run(command, check=True)
    (folder / MODEL).write_bytes(b"a network")
    publish(library)
    return recorded(folder)


def publish(library):
    """Count a library as published by the package, in this process."""
    made = PackageFile(inside="", sha256=file_digest(library), system="made by the tests")
    PACKAGES["deepfilternet"].files[f"made-{made.sha256}.so"] = made


def recorded(folder):
    """The folder with the digests of its files, as the ledger has them."""
    files = {path.name: file_digest(path) for path in sorted(folder.iterdir())}
    return WeightFolder(name="deepfilternet", path=folder, files=files, licence="MIT")
