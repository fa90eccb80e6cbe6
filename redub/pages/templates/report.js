"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (id) => document.getElementById(id);
  const lines = all(".line");

  // Media that several lines share are stored once, as text.
  for (const element of all("[data-medium]")) {
    element.src = one("m-" + element.dataset.medium).textContent;
  }

  // One sound at a time; the line's film plays along with the system that plays.
  let playing = null;
  const lineOf = (element) => element.closest(".line");
  const pictureOf = (audio) =>
    audio.closest(".take") && one("follow").checked
      ? lineOf(audio).querySelector(".screen video")
      : null;

  function drawHead() {
    if (!playing) return;
    const take = playing.closest(".take");
    const head = take && take.querySelector(".head");
    if (head) {
      head.hidden = false;
      head.style.left = Math.min(100, (100 * playing.currentTime) / Number(take.dataset.span)) + "%";
    }
    requestAnimationFrame(drawHead);
  }

  function stopped(media) {
    const take = media.closest(".take");
    if (take) take.classList.remove("playing");
    // After a switch, the "pause" event of the old sound comes late: the film then already plays
    // along with the new sound.
    const switched = playing && playing !== media;
    const picture = media.tagName === "AUDIO" && !switched && pictureOf(media);
    if (picture && picture.dataset.led) {
      picture.pause();
      delete picture.dataset.led;
    }
    if (playing === media) playing = null;
  }

  document.addEventListener("play", (event) => {
    const media = event.target;
    if (media.tagName === "VIDEO" && media.dataset.led) return;
    media.muted = false;
    for (const other of all("audio, video")) {
      if (other !== media && !other.paused) other.pause();
    }
    playing = media;
    if (media.tagName !== "AUDIO") return;
    const take = media.closest(".take");
    if (take) take.classList.add("playing");
    const picture = pictureOf(media);
    if (picture) {
      picture.dataset.led = "1";
      picture.muted = true;
      picture.currentTime = media.currentTime;
      picture.play().catch(() => {});
    }
    requestAnimationFrame(drawHead);
  }, true);
  for (const name of ["pause", "ended"]) {
    document.addEventListener(name, (event) => stopped(event.target), true);
  }
  document.addEventListener("seeked", (event) => {
    const picture = event.target.tagName === "AUDIO" && pictureOf(event.target);
    if (picture && picture.dataset.led) picture.currentTime = event.target.currentTime;
  }, true);

  function playAt(audio, seconds) {
    audio.currentTime = seconds;
    audio.play().catch(() => {});
  }

  for (const mel of all(".mel")) {
    mel.addEventListener("click", (event) => {
      const take = mel.closest(".take");
      const audio = take.querySelector("audio");
      if (!audio) return;
      const box = mel.getBoundingClientRect();
      playAt(audio, ((event.clientX - box.left) / box.width) * Number(take.dataset.span));
    });
  }

  for (const thumb of all("button.thumb")) {
    const film = thumb.querySelector("video");
    thumb.addEventListener("click", () => {
      if (film.paused) film.play().catch(() => {});
      else film.pause();
    });
    for (const name of ["play", "pause", "ended"]) {
      film.addEventListener(name, () => thumb.classList.toggle("on", !film.paused));
    }
  }

  // Filter.
  const find = one("find");
  const words = new Map(lines.map((line) => [
    line,
    [...line.querySelectorAll(":scope > summary > *")].map((e) => e.textContent).join(" ").toLowerCase(),
  ]));
  function filter() {
    const wanted = find.value.trim().toLowerCase();
    const emotion = one("by-emotion") ? one("by-emotion").value : "";
    const speaker = one("by-speaker") ? one("by-speaker").value : "";
    let count = 0;
    for (const line of lines) {
      const fits =
        words.get(line).includes(wanted) &&
        (!emotion || line.dataset.emotion === emotion) &&
        (!speaker || line.dataset.speaker === speaker);
      line.hidden = !fits;
      if (!fits && playing && line.contains(playing)) playing.pause();
      count += fits;
    }
    one("shown").textContent = count + (count === 1 ? " line" : " lines") + " of " + lines.length;
  }
  if (find) {
    for (const id of ["find", "by-emotion", "by-speaker"]) {
      if (one(id)) one(id).addEventListener("input", filter);
    }
    one("toggle-all").addEventListener("click", (event) => {
      const opening = lines.some((line) => !line.hidden && !line.open);
      for (const line of lines) if (!line.hidden) line.open = opening;
      event.target.textContent = opening ? "Close all" : "Open all";
    });
  }

  // Keys.
  let current = null;
  document.addEventListener("focusin", (event) => { current = lineOf(event.target) || current; });
  document.addEventListener("play", (event) => { current = lineOf(event.target) || current; }, true);
  function go(step) {
    const shown = lines.filter((line) => !line.hidden);
    const next = shown[Math.max(0, Math.min(shown.length - 1, shown.indexOf(current) + step))];
    if (!next) return;
    current = next;
    next.open = true;
    next.querySelector("summary").focus();
    next.scrollIntoView({ block: "start" });
  }
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (/^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName)) return;
    if (event.key === "/" && find) {
      event.preventDefault();
      find.focus();
    } else if (event.key === "j") {
      go(1);
    } else if (event.key === "k") {
      go(-1);
    } else if (/^[1-9]$/.test(event.key)) {
      const line = current || lines.find((one) => one.open && !one.hidden);
      const take = line && all(".take", line)[Number(event.key) - 1];
      const audio = take && take.querySelector("audio");
      if (!audio) return;
      const here = playing && playing !== audio && line.contains(playing) ? playing.currentTime : 0;
      line.open = true;
      playAt(audio, here);
    }
  });

  // An address such as #line-7 opens that line; the navigation marks the visible section.
  function openAddressed() {
    const line = lines.find((one) => "#" + one.id === location.hash);
    if (line) {
      line.open = true;
      current = line;
      line.scrollIntoView();
    }
  }
  addEventListener("hashchange", openAddressed);
  openAddressed();
  const links = new Map(all(".top a").map((a) => [a.hash.slice(1), a]));
  const seen = new IntersectionObserver((entries) => {
    for (const entry of entries) {
      if (!entry.isIntersecting) continue;
      for (const [id, link] of links) {
        if (id === entry.target.id) link.setAttribute("aria-current", "true");
        else link.removeAttribute("aria-current");
      }
    }
  }, { rootMargin: "-20% 0px -75% 0px" });
  for (const id of links.keys()) if (one(id)) seen.observe(one(id));
  document.documentElement.dataset.ready = "1";
})();
