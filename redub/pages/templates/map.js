"use strict";
(() => {
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const one = (id) => document.getElementById(id);
  const { clips, slots } = JSON.parse(one("clips").textContent);
  const ways = Object.keys(slots);
  const field = one("field"), sound = one("sound"), poster = one("poster");
  const dots = all(".dot", field).map((element, number) => {
    const [x, y] = element.getAttribute("transform").match(/-?[\d.]+/g).map(Number);
    return { element, number, x, y, clip: clips[number] };
  });
  const hidden = new Map(ways.map((by) => [by, new Set()]));
  // Pixels around a click or touch within which a point is selected.
  const REACH = 26;
  const MOST_ZOOM = 32;
  const { width, height } = field.viewBox.baseVal;
  const whole = { width, height };
  const view = { zoom: 1, x: width / 2, y: height / 2 };
  let chosen = null;

  const isShown = (dot) => ways.every((by, k) => !hidden.get(by).has(dot.clip.groups[k]));
  const made = (tag, text, name) => {
    const element = document.createElement(tag);
    element.textContent = text;
    if (name) element.className = name;
    return element;
  };
  const named = (clip) => clip.text ? "“" + clip.text + "”" : clip.id;
  const calling = (dot) => dot.element.querySelector("title").textContent;

  // Colour, shape and filter.
  function colour(by) {
    const k = ways.indexOf(by);
    for (const { element, clip } of dots) {
      const slot = slots[by][clip.groups[k]];
      element.setAttribute("class", element.getAttribute("class").replace(/\bk\d\b/, "k" + slot));
      element.querySelector("use").setAttribute("href", "#shape-" + slot);
    }
    for (const legend of all(".groups")) legend.hidden = legend.dataset.by !== by;
  }
  for (const radio of all("#by input")) {
    radio.addEventListener("change", () => colour(radio.value));
    // The browser may have restored an earlier choice.
    if (radio.checked) colour(radio.value);
  }

  function filter() {
    let count = 0;
    for (const dot of dots) {
      const shown = isShown(dot);
      dot.element.classList.toggle("out", !shown);
      count += shown;
    }
    one("shown").textContent = count + " of " + dots.length + " shown";
    one("show-all").hidden = count === dots.length;
    for (const legend of all(".groups")) {
      for (const button of all(".group", legend)) {
        const isOut = hidden.get(legend.dataset.by).has(Number(button.dataset.group));
        button.setAttribute("aria-pressed", String(!isOut));
      }
    }
    const entry = dots.find((dot) => dot.element.tabIndex === 0);
    if (!entry || !isShown(entry)) rove(dots.find(isShown));
    drawLinks();
  }
  for (const button of all(".group")) {
    const { by } = button.closest(".groups").dataset;
    button.addEventListener("click", () => {
      const group = Number(button.dataset.group);
      if (!hidden.get(by).delete(group)) hidden.get(by).add(group);
      filter();
    });
  }
  one("show-all").addEventListener("click", () => {
    for (const groups of hidden.values()) groups.clear();
    filter();
    // This button is hidden now, so the focus must move.
    one("by").querySelector("input:checked").focus();
  });

  // Arrow keys move between the points; only one point at a time is in the tab order.
  function rove(dot) {
    for (const other of dots) other.element.tabIndex = other === dot ? 0 : -1;
  }
  function towards(from, right, down) {
    let best = null, least = Infinity, aside = null, leastAside = Infinity;
    for (const dot of dots) {
      if (dot === from || !isShown(dot)) continue;
      const x = dot.x - from.x, y = dot.y - from.y;
      const along = x * right + y * down, across = Math.abs(x * down - y * right);
      if (along <= 0) continue;
      const apart = Math.hypot(along, across);
      if (across <= along && apart < least) [best, least] = [dot, apart];
      if (across > along && along + 3 * across < leastAside) {
        [aside, leastAside] = [dot, along + 3 * across];
      }
    }
    return best || aside;
  }
  const ARROWS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  const dotOf = (target) => {
    const element = target instanceof Element && target.closest(".dot");
    return element ? dots[Number(element.id.slice(4))] : null;
  };
  field.addEventListener("keydown", (event) => {
    const dot = dotOf(event.target);
    if (!dot || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key in ARROWS) {
      event.preventDefault();
      const next = towards(dot, ...ARROWS[event.key]);
      if (next) next.element.focus();
    } else if (event.key === "Enter" || event.key === " ") {
      event.preventDefault();
      choose(dot);
    }
  });
  document.addEventListener("keydown", (event) => { if (event.key === "Escape") sound.pause(); });
  const marks = () => parseFloat(getComputedStyle(field).getPropertyValue("--mark"));
  function circle(id, dot, size) {
    one(id).setAttribute("cx", dot ? dot.x : 0);
    one(id).setAttribute("cy", dot ? dot.y : 0);
    one(id).setAttribute("r", dot ? (size * marks()) / view.zoom : 0);
  }
  function drawCursor() {
    const dot = dotOf(document.activeElement);
    circle("cursor", dot && dot.element.matches(":focus-visible") ? dot : null, 2.6);
  }
  field.addEventListener("focusin", (event) => {
    const dot = dotOf(event.target);
    if (!dot) return;
    rove(dot);
    one("readout").textContent = calling(dot);
    if (!isInView(dot)) look(view.zoom, dot.x, dot.y);
    drawCursor();
  });
  field.addEventListener("focusout", () => circle("cursor", null, 0));
  field.addEventListener("pointerover", (event) => {
    const dot = dotOf(event.target);
    if (dot) one("readout").textContent = calling(dot);
  });

  // Zoom: marks keep their size, so that groups separate. Dragging moves the visible part.
  function look(zoom, x, y) {
    view.zoom = Math.min(MOST_ZOOM, Math.max(1, zoom));
    const within = (middle, side) => {
      const half = side / view.zoom / 2;
      return Math.min(side - half, Math.max(half, middle));
    };
    [view.x, view.y] = [within(x, whole.width), within(y, whole.height)];
    const [width, height] = [whole.width / view.zoom, whole.height / view.zoom];
    field.setAttribute("viewBox", [view.x - width / 2, view.y - height / 2, width, height].join(" "));
    field.style.setProperty("--zoom", view.zoom);
    field.classList.toggle("zoomed", view.zoom > 1);
    one("closer").disabled = view.zoom >= MOST_ZOOM;
    one("farther").disabled = one("whole").disabled = view.zoom <= 1;
    drawLinks();
    drawCursor();
  }
  function isInView(dot) {
    return Math.abs(dot.x - view.x) < whole.width / view.zoom / 2
      && Math.abs(dot.y - view.y) < whole.height / view.zoom / 2;
  }
  function closer(factor) {
    const towardsDot = factor > 1 && (dotOf(document.activeElement) || chosen);
    const middle = towardsDot && isShown(towardsDot) ? towardsDot : view;
    look(view.zoom * factor, middle.x, middle.y);
  }
  one("closer").addEventListener("click", () => closer(2));
  one("farther").addEventListener("click", () => closer(0.5));
  one("whole").addEventListener("click", () => look(1, 0, 0));
  field.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "+" || event.key === "=") closer(2);
    else if (event.key === "-") closer(0.5);
    else if (event.key === "0") look(1, 0, 0);
  });
  let drag = null;
  let dragged = false;
  field.addEventListener("pointerdown", (event) => {
    dragged = false;
    drag = view.zoom > 1 && { x: event.clientX, y: event.clientY, seen: { ...view } };
  });
  field.addEventListener("pointermove", (event) => {
    if (!drag || !event.buttons) return;
    const [right, down] = [event.clientX - drag.x, event.clientY - drag.y];
    if (!dragged && Math.hypot(right, down) < 6) return;
    if (!dragged) field.setPointerCapture(event.pointerId);
    dragged = true;
    const unit = 1 / field.getScreenCTM().a;
    look(view.zoom, drag.seen.x - right * unit, drag.seen.y - down * unit);
  });
  for (const name of ["pointerup", "pointercancel"]) {
    field.addEventListener(name, () => { drag = null; });
  }

  // A click or a touch selects the nearest point in reach, because marks are smaller than fingers.
  field.addEventListener("click", (event) => {
    if (dragged) return;
    const onScreen = field.getScreenCTM();
    const { x, y } = new DOMPoint(event.clientX, event.clientY).matrixTransform(onScreen.inverse());
    let best = dotOf(event.target), least = best ? -1 : REACH / onScreen.a;
    for (const dot of dots) {
      const apart = Math.hypot(dot.x - x, dot.y - y);
      if (apart < least && isShown(dot)) [best, least] = [dot, apart];
    }
    if (best) {
      best.element.focus({ preventScroll: true });
      choose(best);
    }
  });

  // The chosen clip: its sound, its frame, its facts, and the three most similar clips.
  function drawLinks() {
    const links = one("links");
    links.replaceChildren();
    for (const { element } of dots) element.classList.remove("near", "chosen");
    circle("ring", null, 0);
    if (!chosen || !isShown(chosen)) return;
    chosen.element.classList.add("chosen");
    circle("ring", chosen, 2.1);
    for (const [number] of chosen.clip.near) {
      const dot = dots[number];
      if (!isShown(dot)) continue;
      dot.element.classList.add("near");
      const line = document.createElementNS(field.namespaceURI, "line");
      const ends = { x1: chosen.x, y1: chosen.y, x2: dot.x, y2: dot.y };
      for (const [name, value] of Object.entries(ends)) line.setAttribute(name, value);
      links.append(line);
    }
  }
  function shownFacts(clip) {
    const facts = [["film", clip.film], ["scene", clip.scene], ["clip", clip.id],
      ["source", clip.source], ["at", clip.at], ["lasts", clip.lasts]];
    return facts.filter(([, value]) => value).flatMap(([name, value]) => {
      const said = document.createElement("dd");
      said.append(made("bdi", value));
      return [made("dt", name), said];
    });
  }
  function goTo(dot) {
    if (!isShown(dot)) for (const groups of hidden.values()) groups.clear();
    filter();
    dot.element.focus({ preventScroll: true });
    choose(dot);
  }
  function choose(dot) {
    const { clip, number } = dot;
    chosen = dot;
    one("nothing").hidden = true;
    one("chosen").hidden = false;
    one("readout").textContent = calling(dot);
    one("text").textContent = named(clip);
    const chips = [clip.speaker, clip.emotion].filter(Boolean).map((word) => {
      const chip = made("span", "", "chip");
      chip.append(made("bdi", word));
      return chip;
    });
    one("chips").replaceChildren(...chips);
    one("facts").replaceChildren(...shownFacts(clip));
    const picture = one("poster-" + number), voice = one("sound-" + number);
    poster.hidden = !picture;
    if (picture) {
      poster.src = picture.textContent;
      poster.alt = "A frame of " + clip.id;
    } else {
      poster.removeAttribute("src");
    }
    sound.pause();
    sound.hidden = !voice;
    if (voice) {
      sound.src = voice.textContent;
      sound.play().catch(() => {});
    } else {
      sound.removeAttribute("src");
    }
    const missing = voice ? "" : "Not embedded in this page; open " + clip.source + " at " + clip.at + ".";
    one("elsewhere").hidden = !missing;
    one("elsewhere").textContent = missing;
    one("near").replaceChildren(...clip.near.map(([other, score]) => {
      const item = document.createElement("li"), button = made("button", "");
      button.type = "button";
      button.append(made("bdi", named(clips[other])), made("b", score, "score"));
      const who = [clips[other].speaker, clips[other].emotion].filter(Boolean).join(", ");
      button.append(made("span", who, "who"));
      button.addEventListener("click", () => goTo(dots[other]));
      item.append(button);
      return item;
    }));
    one("announcement").textContent = (voice ? "Playing " : "Chosen: ") + calling(dot) + ". " + missing;
    drawLinks();
  }

  // Links from clip ids in the coverage holes to the points of the map.
  for (const link of all("a.go")) {
    link.addEventListener("click", (event) => {
      event.preventDefault();
      one("map").scrollIntoView();
      goTo(dots[Number(link.hash.slice(5))]);
    });
  }
  addEventListener("resize", drawLinks);
  filter();
  look(1, 0, 0);
  document.documentElement.dataset.ready = "1";
})();
