"use strict";
(() => {
  const PAGE = 40;
  const STRIP_HEIGHT = 72;
  const data = JSON.parse(document.getElementById("clip-data").textContent);
  const byId = (id) => document.getElementById(id);
  const list = byId("clips");
  const selects = ["class", "predicted", "split", "speaker", "missing"];
  let view = "all";
  let found = [];
  let shown = 0;
  const decided = new Map();
  let unsaved = false;

  /* Text is only ever set as text, so nothing in a corpus can become markup. */
  function make(name, className, text) {
    const element = document.createElement(name);
    if (className) element.className = className;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function drawing(name, attributes) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    return element;
  }

  const isWrong = (clip) => Boolean(clip.tested) && clip.label !== clip.predicted;
  const confidence = (clip) => (clip.probs ? Math.max(...clip.probs) : 0);

  const views = {
    all: { keeps: () => true },
    wrong: { keeps: isWrong, order: (a, b) => confidence(b) - confidence(a) },
    doubt: { keeps: (clip) => clip.doubt !== undefined, order: (a, b) => b.doubt - a.doubt },
    relabelled: { keeps: (clip) => Boolean(clip.learned), order: (a, b) => (b.doubt || 0) - (a.doubt || 0) },
    missing: { keeps: (clip) => Boolean(clip.missing) },
  };

  const valuesOf = {
    class: (clip) => [clip.label],
    predicted: (clip) => [clip.predicted],
    split: (clip) => [clip.split],
    speaker: (clip) => [clip.speaker],
    missing: (clip) => clip.missing || ["nothing"],
  };

  function fillSelects() {
    for (const name of selects) {
      const values = new Set(data.clips.flatMap(valuesOf[name]));
      values.delete(undefined);
      const order = name === "class" || name === "predicted" ? data.classes.filter((c) => values.has(c)) : [...values].sort();
      for (const value of order) {
        const option = make("option", "", value);
        option.value = value;
        byId(name).append(option);
      }
      if (!order.length) byId(name).parentElement.hidden = true;
    }
  }

  function matches(clip, words) {
    if (!views[view].keeps(clip)) return false;
    if (byId("pictured").checked && !clip.strip) return false;
    for (const name of selects) {
      const wanted = byId(name).value;
      if (wanted && !valuesOf[name](clip).includes(wanted)) return false;
    }
    if (!words.length) return true;
    const text = [clip.id, clip.text, clip.cues, clip.speaker].join(" ").toLowerCase();
    return words.every((word) => text.includes(word));
  }

  function update() {
    const words = byId("search").value.toLowerCase().split(/\s+/).filter(Boolean);
    found = data.clips.filter((clip) => matches(clip, words));
    if (views[view].order) found.sort(views[view].order);
    for (const button of document.querySelectorAll("[data-view]")) {
      button.setAttribute("aria-pressed", String(button.dataset.view === view));
    }
    byId("count").textContent = `${found.length} of ${data.clips.length} clips.`;
    list.replaceChildren();
    shown = 0;
    showMore();
  }

  function showMore() {
    for (const clip of found.slice(shown, shown + PAGE)) list.append(item(clip));
    shown = Math.min(shown + PAGE, found.length);
    byId("more").hidden = shown >= found.length;
  }

  function item(clip) {
    const entry = make("li", isWrong(clip) ? "wrong" : "");
    const button = make("button", "clip");
    button.type = "button";
    button.setAttribute("aria-expanded", "false");
    button.append(strip(clip), summary(clip));
    button.addEventListener("click", () => toggle(entry, button, clip));
    entry.append(button);
    return entry;
  }

  function strip(clip) {
    if (!clip.strip) return make("span", "strip none", "no pictures");
    const image = make("img", "strip");
    image.src = `data:image/jpeg;base64,${clip.strip}`;
    image.height = STRIP_HEIGHT;
    image.alt = "frames and face crops";
    return image;
  }

  function summary(clip) {
    const box = make("span", "summary");
    const first = make("span", "first");
    first.append(make("b", "", clip.id), make("span", "tag", clip.split));
    if (clip.speaker) first.append(make("span", "quiet", clip.speaker));
    const second = make("span", "labels");
    if (clip.label) second.append(make("span", "", `given ${clip.label}`));
    if (clip.learned) second.append(make("span", "changed", `learned as ${clip.learned}`));
    if (clip.predicted) {
      const chance = clip.probs ? ` ${Math.round(confidence(clip) / 10)} %` : "";
      const kind = isWrong(clip) ? "miss" : clip.tested ? "hit" : "";
      second.append(make("span", kind, `predicted ${clip.predicted}${chance}`));
    }
    if (clip.doubt !== undefined) second.append(make("span", "quiet", `doubt ${clip.doubt.toFixed(2)}`));
    if (clip.missing) second.append(make("span", "quiet", `no ${clip.missing.join(", no ")}`));
    box.append(first, second);
    if (clip.text) box.append(make("span", "words", clip.text));
    return box;
  }

  function toggle(entry, button, clip) {
    const open = button.getAttribute("aria-expanded") === "true";
    button.setAttribute("aria-expanded", String(!open));
    if (open) entry.lastElementChild.remove();
    else entry.append(details(clip));
  }

  function details(clip) {
    const box = make("div", "details");
    for (const kind of ["video", "audio"]) if (clip[kind]) box.append(player(kind, clip[kind]));
    if (clip.wave) box.append(waveform(clip));
    if (clip.text) box.append(make("blockquote", "", clip.text));
    if (clip.text && clip.transcriber) box.append(make("p", "quiet", `Transcribed by ${clip.transcriber}`));
    if (clip.cues) box.append(make("p", "cues", `Cues: ${clip.cues}`));
    if (clip.probs) box.append(probabilities(clip));
    if (clip.votes) box.append(votes(clip), decision(clip));
    if (clip.reason) box.append(make("p", "quiet", `Label ${clip.decision}: ${clip.reason}`));
    return box;
  }

  function player(kind, address) {
    const element = make(kind, "player");
    element.controls = true;
    element.preload = "metadata";
    element.src = address;
    element.addEventListener("error", () => {
      element.replaceWith(make("p", "quiet", `The browser cannot play ${address}: it is not beside this page, or of another format.`));
    });
    return element;
  }

  function waveform(clip) {
    const figure = make("figure", "");
    const heights = [...clip.wave].map((digit) => Math.max(0.4, parseInt(digit, 32)));
    const picture = drawing("svg", { class: "wave", viewBox: `0 -32 ${heights.length} 64`, preserveAspectRatio: "none", role: "img", "aria-label": clip.pitch ? "waveform and pitch" : "waveform" });
    const path = heights.map((height, x) => `M${x + 0.5} ${-height}V${height}`).join("");
    picture.append(drawing("path", { d: path }));
    figure.append(picture);
    if (!clip.pitch) return figure;
    const voiced = (x) => clip.pitch[x] !== undefined && clip.pitch[x] !== "-";
    const line = [...clip.pitch].map((digit, x) => {
      if (!voiced(x)) return "";
      const at = `${x + 0.5} ${28 - 1.8 * parseInt(digit, 32)}`;
      return voiced(x - 1) ? `L${at}` : `M${at}h0.01`;
    });
    picture.append(drawing("path", { class: "pitch", d: line.join("") }));
    const [low, high] = clip.hertz;
    figure.append(make("figcaption", "quiet", `Waveform, and pitch from ${low} to ${high} Hz`));
    return figure;
  }

  function probabilities(clip) {
    const table = make("table", "lines");
    clip.probs.forEach((share, index) => {
      const name = data.classes[index];
      const row = make("tr", name === clip.label ? "true" : "");
      const bar = drawing("svg", { class: "bar", "aria-hidden": "true" });
      bar.append(
        drawing("rect", { class: "ground", width: "100%", height: "100%", rx: 3 }),
        drawing("rect", { class: "fill", width: `${share / 10}%`, height: "100%", rx: 3 }),
      );
      const cell = make("td");
      cell.append(bar);
      row.append(make("th", "", name), cell, make("td", "n", (share / 1000).toFixed(3)));
      table.append(row);
    });
    return table;
  }

  function votes(clip) {
    const scroll = make("div", "scroll");
    const table = make("table", "grid votes");
    const head = make("tr");
    head.append(make("th", "", "label source"), ...data.classes.map((name) => make("th", "", name)));
    table.append(head);
    for (const [source, hundredths] of clip.votes) {
      const row = make("tr");
      const name = make("th", "", data.voters[source]);
      name.scope = "row";
      const cells = hundredths.map((p) => make("td", `h${Math.round(p / 10)}`, (p / 100).toFixed(2)));
      row.append(name, ...cells);
      table.append(row);
    }
    scroll.append(table);
    return scroll;
  }

  function decision(clip) {
    const label = make("label", "decision", "Your decision ");
    const choice = make("select");
    for (const name of ["", ...data.classes]) {
      const option = make("option", "", name || "none");
      option.value = name;
      choice.append(option);
    }
    choice.value = decided.get(clip.id) || "";
    choice.addEventListener("change", () => {
      if (choice.value) decided.set(clip.id, choice.value);
      else decided.delete(clip.id);
      unsaved = decided.size > 0;
      byId("decisions").hidden = !decided.size;
      byId("decided").textContent = `${decided.size} ${decided.size === 1 ? "decision" : "decisions"} on labels.`;
    });
    label.append(choice);
    return label;
  }

  /* As ecmf writes csv: a text that a spreadsheet would run as a formula has an apostrophe. */
  function cell(text) {
    const harmless = /^'*[=+@\uff1d\uff0b\uff0d\uff20\t\r-]/.test(text) ? `'${text}` : text;
    return /[",\r\n]/.test(harmless) ? `"${harmless.replaceAll('"', '""')}"` : harmless;
  }

  async function save() {
    const rows = [["clip_id", "label"], ...[...decided].sort()];
    const bytes = new TextEncoder().encode(rows.map((row) => `${row.map(cell).join(",")}\n`).join(""));
    const link = make("a");
    link.href = URL.createObjectURL(new Blob([bytes], { type: "text/csv" }));
    link.download = "decisions.csv";
    link.click();
    URL.revokeObjectURL(link.href);
    unsaved = false;
    const hash = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
    const sha256 = [...hash].map((byte) => byte.toString(16).padStart(2, "0")).join("");
    byId("after").replaceChildren("Move the file into the project's folder data, and learn from it: ", make("code", "", `dvc exp run -S '++refine_labels.trusted={path: data/decisions.csv, sha256: ${sha256}}'`));
  }

  function step(offset) {
    const buttons = [...list.querySelectorAll("button.clip")];
    const current = buttons.indexOf(document.activeElement);
    if (offset > 0 && current === buttons.length - 1 && shown < found.length) {
      showMore();
      step(offset);
      return;
    }
    const next = buttons[Math.min(Math.max(current + offset, 0), buttons.length - 1)];
    if (next) {
      next.focus();
      next.scrollIntoView({ block: "nearest" });
    }
  }

  function choose(name) {
    view = name;
    update();
  }

  function onKey(event) {
    const typing = /^(INPUT|SELECT|TEXTAREA)$/.test(event.target.tagName);
    if (event.key === "Escape" && typing) event.target.blur();
    if (typing || event.ctrlKey || event.metaKey || event.altKey) return;
    const names = Object.keys(views);
    if (event.key === "/") byId("search").focus();
    else if (event.key === "j") step(1);
    else if (event.key === "k") step(-1);
    else if (names[Number(event.key) - 1]) choose(names[Number(event.key) - 1]);
    else return;
    event.preventDefault();
  }

  fillSelects();
  for (const name of [...selects, "pictured"]) byId(name).addEventListener("change", update);
  byId("search").addEventListener("input", update);
  byId("more").addEventListener("click", showMore);
  byId("save").addEventListener("click", save);
  window.addEventListener("beforeunload", (event) => unsaved && event.preventDefault());
  for (const button of document.querySelectorAll("[data-view]")) {
    button.addEventListener("click", () => choose(button.dataset.view));
  }
  document.addEventListener("keydown", onKey);
  byId("browser").hidden = false;
  update();
})();
