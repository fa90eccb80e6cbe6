"use strict";
(() => {
  const all = (selector) => document.querySelectorAll(selector);

  // Media that several cards show are stored once, as text.
  for (const name of ["src", "poster"]) {
    for (const element of all(`[data-shared-${name}]`)) {
      const key = element.getAttribute("data-shared-" + name);
      element.setAttribute(name, document.getElementById("m-" + key).textContent);
    }
  }

  // One sound at a time.
  document.addEventListener("play", (event) => {
    for (const other of all("audio, video")) {
      if (other !== event.target && !other.paused) other.pause();
    }
  }, true);

  document.documentElement.dataset.ready = "1";
})();
