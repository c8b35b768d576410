// Optimizers of one number, step by step as torch.optim does them in float64, over the landscape of the exercise.

const RULES = {
  gd: (p) => (x, g) => x - p.lr * (g + p.weight_decay * x),
  momentum: (p) => heavy(p, p.dampening, (g, velocity) => velocity),
  nesterov: (p) => heavy(p, 0, (g, velocity) => g + p.momentum * velocity),
  adam: (p) => {
    let mean = 0, square = 0, step = 0;
    return (x, g) => {
      g += p.weight_decay * x;
      step += 1;
      mean = lerp(mean, g, 1 - p.beta1);
      square = square * p.beta2 + (1 - p.beta2) * g * g;
      const root = Math.sqrt(square) / Math.sqrt(1 - p.beta2 ** step) + p.eps;
      return x - (p.lr / (1 - p.beta1 ** step)) * mean / root;
    };
  },
  rmsprop: (p) => {
    let square = 0, velocity = 0;
    return (x, g) => {
      g += p.weight_decay * x;
      square = square * p.alpha + (1 - p.alpha) * g * g;
      velocity = p.momentum * velocity + g / (Math.sqrt(square) + p.eps);
      return x - p.lr * velocity;
    };
  },
};
const OWN = {lr: 0.3, momentum: 0.9, dampening: 0, beta1: 0.9, beta2: 0.999, alpha: 0.99, eps: 0, weight_decay: 0,
  distance: 1, height: 0.4, up_slope: 1, tail_slope: -0.3, steps: 1000};
const HAS = {gd: [], momentum: ["momentum"], nesterov: ["momentum"], adam: ["beta1", "beta2"], rmsprop: ["alpha", "momentum"]};
const AXES = {distance: "L", lr: "the learning rate", momentum: "momentum", beta1: "β₁", beta2: "β₂", alpha: "α"};

function heavy(p, dampening, direction) {
  let velocity = null;
  return (x, g) => {
    g += p.weight_decay * x;
    velocity = velocity === null || p.momentum === 0 ? g : p.momentum * velocity + (1 - dampening) * g;
    return x - p.lr * direction(g, velocity);
  };
}

function lerp(from, to, weight) {
  return weight < 0.5 ? from + weight * (to - from) : to - (to - from) * (1 - weight);
}

// At a kink the slope is that of the right-hand side; a bump of infinite height never ends.
function slopeAt(p, height, x) {
  const beyond = x - p.distance;
  if (beyond < 0) return -1;
  if (beyond < height) return p.up_slope;
  return beyond < 2 * height ? -p.up_slope : p.tail_slope;
}

function lossAt(p, height, x) {
  const beyond = x - p.distance;
  if (beyond < 0) return -beyond;
  if (beyond < height) return p.up_slope * beyond;
  return beyond < 2 * height ? p.up_slope * (2 * height - beyond) : p.tail_slope * (beyond - 2 * height);
}

// Positions after 0, 1, ... steps; it ends before the first that is not finite.
function walk(optimizer, p, height) {
  const step = RULES[optimizer](p), path = [0];
  for (let x = 0, count = 0; count < p.steps; count++) {
    x = step(x, slopeAt(p, height, x));
    if (!Number.isFinite(x)) break;
    path.push(x);
  }
  return path;
}

// The tallest bump escaped: how far the path climbs a bump that never ends; null where it is not reached.
function findMaximum(optimizer, p) {
  const move = RULES[optimizer](p);
  let x = 0, top = 0, step = 0, nearest = p.distance, margin = nearest;
  for (let count = 1; count <= p.steps; count++) {
    x = move(x, x < p.distance ? -1 : p.up_slope);
    if (!Number.isFinite(x)) return {height: null, step, margin};
    nearest = Math.min(nearest, Math.abs(x - p.distance));
    if (x > top) [top, step, margin] = [x, count, nearest];
  }
  const lifted = step * Number.EPSILON * p.distance;  // by rounding alone
  return {height: top - p.distance > lifted ? top - p.distance : null, step, margin};
}

// In 14 digits, and never more than it is: a bump as high as is shown is escaped.
function roundedDown(height) {
  const near = Number(height.toPrecision(14)), digit = 10 ** (Math.floor(Math.log10(height)) - 13);
  return near <= height ? near : Number((near - digit).toPrecision(14));
}

function bumpExplorer(root, data) {
  const given = {...OWN, ...data.settings};
  const offered = Object.keys(RULES);
  let optimizer = ["adam", ...data.optimizers].find((name) => RULES[name] && data.optimizers.includes(name)) ?? "adam";
  const initial = (name) => name === "momentum" && data.settings.momentum === undefined && optimizer === "rmsprop" ? 0 : given[name];
  const values = {};
  const svgs = Object.fromEntries(["landscape", "steps", "sweep"].map((name) => [name, root.querySelector(`svg.${name}`)]));
  const axis = root.querySelector("[data-select=axis]");

  const set = (name, value) => {
    values[name] = value;
    const range = root.querySelector(`[data-range=${name}]`), exact = root.querySelector(`[data-exact=${name}]`);
    if (value > range.max) range.max = 2 * value;
    if (value < range.min) range.min = value / 2;
    range.value = value;
    if (Number(exact.value) !== value) exact.value = value;
  };
  const reset = () => { for (const name of ["height", ...Object.keys(AXES)]) set(name, initial(name)); };

  const choose = (name) => {
    optimizer = name;
    if (data.settings.momentum === undefined) set("momentum", initial("momentum"));
    for (const one of ["beta1", "beta2", "momentum", "alpha"]) {
      root.querySelector(`[data-slider=${one}]`).hidden = !HAS[optimizer].includes(one);
    }
    axis.replaceChildren(...["lr", "distance", ...HAS[optimizer]].map((one) => {
      const option = document.createElement("option");
      option.value = one;
      option.textContent = AXES[one];
      return option;
    }));
    redraw();
  };

  const redraw = () => {
    const p = {...given, ...values};
    const found = findMaximum(optimizer, p), path = walk(optimizer, p, p.height);
    const escaped = path.findIndex((x) => x - p.distance >= p.height);
    Object.assign(root, {path, found});
    setText(root, "h_max", found.height === null ? "none" : String(roundedDown(found.height)));
    const verdict = root.querySelector("[data-out=verdict]");
    verdict.className = escaped < 0 ? "caught" : "escapes";
    verdict.textContent = (found.height === null ? `the bump is not reached in ${p.steps} steps` : escaped < 0
      ? `caught: a bump ${p.height} high is not escaped in ${p.steps} steps`
      : `escapes a bump ${p.height} high, in step ${escaped}`)
      + (found.height === null ? "" : found.margin < 1e-9 ? "; a step lands on its foot, so rounding decides"
      : Math.abs(p.height - found.height) < 1e-12 ? "; so near to h_max the last digits of rounding decide" : "");
    setText(root, "path", path.slice(1, 11).map((x) => String(Number(x.toPrecision(6)))).join("  ") + (path.length > 11 ? " …" : ""));
    drawLandscape(svgs.landscape, p, path, found, `${optimizer}: ${root.querySelector(".verdict").textContent.trim().replace(/\s+/g, " ")}`);
    drawSteps(svgs.steps, p, path);
    drawSweep(svgs.sweep, p, found);
  };

  function drawLandscape(svg, p, path, found, words) {
    const tall = Math.min(found.height ?? 0, 3 * p.height + p.distance);
    const right = p.distance + Math.max(2 * p.height + 0.5, 2.2 * tall);
    const left = Math.min(0, ...path.slice(0, 40).map((x) => Math.max(x, -0.5))) - 0.06;
    const top = Math.max(p.distance, p.up_slope * Math.max(p.height, tall)) * 1.08;
    const chart = plot(svg, [left, right], [Math.min(-0.13 * top, lossAt(p, p.height, right)), top + 0.03], words);
    const ridge = (height) => [left, p.distance, p.distance + height, p.distance + 2 * height, right].filter((x) => x <= right)
      .map((x) => [x, lossAt(p, height, x)]);
    chart.shape("polygon", "hill", [...ridge(p.height), [right, chart.low], [left, chart.low]]);
    if (found.height !== null) {
      chart.shape("polyline", "tallest", [0, 1, 2].map((k) => [p.distance + k * found.height, k === 1 ? p.up_slope * found.height : 0]).filter(([x]) => x <= right * 1.5));
    }
    chart.shape("polyline", "edge", ridge(p.height));
    const seen = path.slice(0, 60).map((x) => [x, lossAt(p, p.height, x)]);
    const inside = seen.filter(([x]) => x >= left && x <= right);
    chart.shape("polyline", "route", inside);
    inside.forEach(([x, y], place) => {
      chart.dot("dot", x, y, 5);
      if (place < 12 && !inside.slice(0, place).some(([other]) => Math.abs(chart.x(other) - chart.x(x)) < 12)) chart.text(x, y, String(place), "number", 0, -10);
    });
    chart.text(p.distance, 0, "L", "number", 0, 16);
    chart.text(p.distance + p.height, 0, "L + h", "number", 0, 16);
    chart.ticks();
  }

  function drawSteps(svg, p, path) {
    const shown = path.slice(0, 41), bottom = Math.min(0, ...shown);
    const top = Math.min(Math.max(...shown, p.distance + p.height), p.distance + 3 * p.height + 0.5);
    const chart = plot(svg, [0, shown.length - 1], [Math.max(bottom, -top), top * 1.05], `x over the first ${shown.length - 1} steps`);
    chart.rectangle("band", 0, p.distance, shown.length - 1, Math.min(p.distance + 2 * p.height, top * 1.05));
    const inside = shown.map((x, step) => [step, x]).filter(([, x]) => x <= top * 1.05 && x >= chart.low);
    chart.shape("polyline", "route", inside);
    for (const [step, x] of inside) chart.dot("dot", step, x, 3);
    chart.ticks("step", "x");
  }

  function drawSweep(svg, p, found) {
    const name = axis.value, range = root.querySelector(`[data-range=${name}]`);
    const low = Number(range.min), high = Number(range.max), count = 240, few = {...p, steps: Math.min(p.steps, 400)};
    const points = [];
    for (let place = 0; place <= count; place++) {
      const value = low + (high - low) * place / count;
      points.push([value, findMaximum(optimizer, {...few, [name]: value}).height ?? 0]);
    }
    const heights = points.map(([, height]) => height).sort((a, b) => a - b);
    const usual = Math.max(heights[Math.floor(0.9 * count)], found.height ?? 0, 1e-3), most = heights[count];
    const top = 1.1 * (most > 4 * usual ? usual : Math.max(most, usual));  // what towers above all the rest is cut, and said
    const chart = plot(svg, [low, high], [0, top], `h_max over ${AXES[name]}`);
    if (most > top) chart.text(low, top, `cut: up to ${short(most)}`, "cut", 6, 4);
    chart.shape("polyline", "curve", points.map(([x, y]) => [x, Math.min(y, top)]));
    if (found.height !== null) chart.dot("here", values[name], Math.min(found.height, top), 6);
    chart.ticks("", "");
  }

  radios(root, "optimizer", offered.map((name) => [name, name]), optimizer, choose);
  for (const range of root.querySelectorAll("[data-range]")) {
    range.addEventListener("input", () => { set(range.dataset.range, Number(range.value)); redraw(); });
  }
  for (const exact of root.querySelectorAll("[data-exact]")) {
    exact.addEventListener("input", () => {
      const value = exact.valueAsNumber, name = exact.dataset.exact;
      const least = ["lr", "height", "distance"].includes(name) ? Number.MIN_VALUE : 0;
      if (Number.isFinite(value) && value >= least && (least > 0 || value < 1)) { set(name, value); redraw(); }
    });
    exact.addEventListener("change", () => { exact.value = values[exact.dataset.exact]; });  // what was refused goes
  }
  axis.addEventListener("change", redraw);
  const begun = optimizer;
  root.querySelector("[data-do=reset]").addEventListener("click", () => {
    root.querySelector(`input[type=radio][value=${begun}]`).checked = true;
    reset();
    choose(begun);
  });
  reset();
  choose(optimizer);
  whenResized(svgs.landscape, redraw);
}
