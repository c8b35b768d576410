// What the explorers share, and what the page itself can do. Whatever comes from a run is put in as text, never as markup.

const INK = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2", "#7f7f7f", "#bcbd22", "#17becf"];
const HEAT = [[0, 0, 4], [81, 18, 124], [183, 55, 121], [252, 137, 97], [252, 253, 191]];  // magma, in five stops

function hue(group, groups) {
  return groups <= INK.length ? INK[group] : `hsl(${Math.round(360 * ((group * 0.618034) % 1))} 65% ${group % 2 ? 45 : 62}%)`;
}

function theme(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name);
}

function setText(root, name, text) {
  root.querySelector(`[data-out=${name}]`).textContent = text;
}

function short(value) {
  return String(Number(value.toPrecision(6)));
}

async function inflate(text) {
  const letters = atob(text), bytes = new Uint8Array(letters.length);
  for (let at = 0; at < bytes.length; at++) bytes[at] = letters.charCodeAt(at);
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).arrayBuffer());
}

// An array that packing.py has packed, as {shape, values}.
async function unpack({kind, shape, data, steps}) {
  const bytes = await inflate(data);
  if (kind === "uint8") return {shape, values: bytes};
  if (kind === "float32") return {shape, values: new Float32Array(bytes.buffer)};
  const count = bytes.length / 3, values = new Float64Array(count), step = (await unpack(steps)).values;
  for (let row = 0, at = 0; row < shape[0]; row++) {
    for (const end = at + shape[1], size = step[row] / 256; at < end; at++) {
      values[at] = (bytes[at] << 8 | bytes[count + at] << 16 | bytes[2 * count + at] << 24) * size;
    }
  }
  return {shape, values};
}

function eightBits(image) {
  return Uint8Array.from(image, (value) => Math.round(255 * Math.min(Math.max(value, 0), 1)));
}

// Images [N, C, H, W] as [N, H, W, 3].
function colours(pixels, count, [channels, height, width]) {
  const area = height * width, made = new Uint8Array(3 * count * area);
  for (let image = 0; image < count; image++) {
    for (let at = 0; at < area; at++) {
      for (let channel = 0; channel < 3; channel++) {
        made[3 * (image * area + at) + channel] = pixels[(image * channels + (channels === 3 ? channel : 0)) * area + at];
      }
    }
  }
  return made;
}

// The absolute difference per pixel as a colour, [N, H, W, 3].
function errors(truth, made, count, [channels, height, width]) {
  const area = height * width, coloured = new Uint8Array(3 * count * area);
  for (let image = 0; image < count; image++) {
    for (let at = 0; at < area; at++) {
      let sum = 0;
      for (let channel = 0; channel < channels; channel++) sum += Math.abs(truth[(image * channels + channel) * area + at] - made[(image * channels + channel) * area + at]);
      const heat = Math.min(sum / channels / 255, 1) * (HEAT.length - 1), stop = Math.min(Math.floor(heat), HEAT.length - 2);
      HEAT[stop].forEach((low, channel) => { coloured[3 * (image * area + at) + channel] = low + (heat - stop) * (HEAT[stop + 1][channel] - low); });
    }
  }
  return coloured;
}

// Images side by side, [N, C, H, W] or, interleaved, [N, H, W, 3]; the canvas gets one pixel for each of theirs.
function montage(canvas, pixels, count, [channels, height, width], {columns, gap = Math.max(1, Math.round(width / 14)), interleaved = false}) {
  const many = Math.min(columns, count), rows = Math.ceil(count / columns);
  canvas.width = many * (width + gap) - gap;
  canvas.height = rows * (height + gap) - gap;
  const shown = interleaved ? pixels : colours(pixels, count, [channels, height, width]);
  const whole = new ImageData(canvas.width, canvas.height);
  const screen = whole.data, across = canvas.width;
  for (let image = 0, at = 0; image < count; image++) {
    const left = (image % columns) * (width + gap), top = Math.floor(image / columns) * (height + gap);
    for (let y = 0; y < height; y++) {
      for (let x = 0, to = 4 * ((top + y) * across + left); x < width; x++, at += 3, to += 4) {
        screen[to] = shown[at];
        screen[to + 1] = shown[at + 1];
        screen[to + 2] = shown[at + 2];
        screen[to + 3] = 255;
      }
    }
  }
  canvas.getContext("2d").putImageData(whole, 0, 0);
}

// An empty chart in an svg, and what draws on it in the units of its axes.
function plot(svg, [left, right], [low, high], words) {
  const wide = svg.clientWidth || 600, tall = svg.clientHeight || 240, pad = {left: 40, right: 10, top: 22, bottom: 34};
  const x = (value) => pad.left + (value - left) / (right - left || 1) * (wide - pad.left - pad.right);
  const y = (value) => tall - pad.bottom - (value - low) / (high - low || 1) * (tall - pad.top - pad.bottom);
  svg.setAttribute("viewBox", `0 0 ${wide} ${tall}`);
  svg.setAttribute("aria-label", words);
  svg.replaceChildren();
  const add = (kind, attributes, text) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", kind);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    if (text !== undefined) element.textContent = text;
    svg.append(element);
  };
  return {
    x, y, low,
    shape: (kind, look, points) => add(kind, {class: look, points: points.map(([a, b]) => `${x(a).toFixed(2)},${y(b).toFixed(2)}`).join(" ")}),
    dot: (look, a, b, radius) => add("circle", {class: look, cx: x(a).toFixed(2), cy: y(b).toFixed(2), r: radius}),
    text: (a, b, text, look, dx = 0, dy = 0) => add("text", {class: look, x: x(a) + dx, y: y(b) + dy}, text),
    rectangle: (look, a, b, c, d) => add("rect", {class: look, x: x(a), y: y(d), width: x(c) - x(a), height: Math.max(0, y(b) - y(d))}),
    ticks: (across = "x", up = "loss") => {
      add("line", {class: "axis", x1: pad.left, x2: wide - pad.right, y1: tall - pad.bottom, y2: tall - pad.bottom});
      add("line", {class: "axis", x1: pad.left, x2: pad.left, y1: pad.top, y2: tall - pad.bottom});
      for (const value of nice(left, right, wide / 90)) add("text", {x: x(value), y: tall - pad.bottom + 15, "text-anchor": "middle"}, short(value));
      for (const value of nice(low, high, tall / 45)) add("text", {x: pad.left - 6, y: y(value) + 4, "text-anchor": "end"}, short(value));
      if (across) add("text", {x: wide - pad.right, y: tall - 4, "text-anchor": "end"}, across);
      if (up) add("text", {x: 4, y: 12}, up);
    },
  };
}

// Round numbers between two ends, about so many.
function nice(low, high, count) {
  const rough = (high - low) / Math.max(count, 1) || 1, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((one) => one * power >= rough) * power, found = [];
  for (let number = Math.ceil(low / step); number * step <= high + 1e-9 * step; number++) found.push(number * step);
  return found;
}

// Radio buttons in a fieldset, by value and label.
function radios(root, name, choices, chosen, choose) {
  const fieldset = root.querySelector(`[data-choices=${name}]`);
  fieldset.hidden = choices.length === 0;
  for (const [value, words] of choices) {
    const label = document.createElement("label"), input = document.createElement("input");
    Object.assign(input, {type: "radio", name: `${root.dataset.run}-${root.dataset.explorer}-${name}`, value, checked: value === chosen});
    input.addEventListener("change", () => choose(value));
    label.append(input, words);
    fieldset.append(label);
  }
}

function whenResized(element, redraw) {
  let wide = element.clientWidth;
  new ResizeObserver(() => {
    if (element.clientWidth && element.clientWidth !== wide) { wide = element.clientWidth; redraw(); }
  }).observe(element);
  document.addEventListener("themed", redraw);
}

const EXPLORERS = {bump: bumpExplorer, plane: planeExplorer, sizes: sizesExplorer, deblur: deblurExplorer};

const status = document.getElementById("said");

for (const button of document.querySelectorAll("[data-copy]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const line = document.getElementById(button.dataset.copy);
    try {
      await navigator.clipboard.writeText(line.textContent);
      status.textContent = button.textContent = "Copied";
    } catch {  // without permission the line is selected, so that ctrl-C copies it
      getSelection().selectAllChildren(line);
      status.textContent = button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, 2000);
  });
}

for (const button of document.querySelectorAll("[data-download]")) {
  button.hidden = false;
  button.addEventListener("click", async () => {
    const files = JSON.parse(document.querySelector(`[data-files=${button.dataset.run}]`).textContent);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([await inflate(files[button.dataset.download])]));
    link.download = button.dataset.download;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  });
}

for (const button of document.querySelectorAll("[data-enlarge]")) {
  button.addEventListener("click", () => {
    button.setAttribute("aria-pressed", String(button.closest("figure").classList.toggle("large")));
  });
}

for (const check of document.querySelectorAll("[data-check=differing]")) {
  const section = check.closest(".compare"), filter = () => section.classList.toggle("only-differing", check.checked);
  check.parentElement.hidden = false;
  check.addEventListener("change", filter);
  filter();
}

const prefersDark = matchMedia("(prefers-color-scheme: dark)"), toggle = document.querySelector("[data-do=theme]");
const isDark = () => (document.documentElement.dataset.theme ?? (prefersDark.matches ? "dark" : "light")) === "dark";
const themed = () => {
  toggle.textContent = isDark() ? "Light" : "Dark";
  toggle.setAttribute("aria-label", `Switch to ${isDark() ? "light" : "dark"} colours`);
  document.dispatchEvent(new Event("themed"));
};
toggle.hidden = false;
toggle.addEventListener("click", () => { document.documentElement.dataset.theme = isDark() ? "light" : "dark"; themed(); });
prefersDark.addEventListener("change", themed);
themed();

// On paper everything is unfolded, and dark on light.
let folded = [], wasDark = false;
addEventListener("beforeprint", () => {
  [folded, wasDark] = [[...document.querySelectorAll("details:not([open])")], isDark()];
  for (const details of folded) details.open = true;
  if (wasDark) toggle.click();
});
addEventListener("afterprint", () => {
  for (const details of folded) details.open = false;
  if (wasDark) toggle.click();
});

// The first explorer at once; the others after it, one at a time, so that what is there already answers. The page tells
// after how many milliseconds the first did, and all.
const parsed = {}, roots = [...document.querySelectorAll("[data-explorer]")];
for (const root of roots) root.hidden = false;
for (const [place, root] of roots.entries()) {
  if (place) await new Promise((go) => setTimeout(go));
  const run = root.dataset.run;
  parsed[run] ??= JSON.parse(document.querySelector(`[data-of=${run}]`).textContent);
  await EXPLORERS[root.dataset.explorer](root, parsed[run]);
  document.documentElement.dataset.interactive ??= Math.round(performance.now());
}
document.documentElement.dataset.ready = Math.round(performance.now());
