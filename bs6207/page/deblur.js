// A few test images: blurred against restored, at every sigma, on the way from L1 alone to the clearest restorer.

async function deblurExplorer(root, data) {
  const clear = await unpack(data.clear), blurred = await unpack(data.blurred), restored = await unpack(data.restored);
  const [count, ...shape] = clear.shape, [channels, height, width] = shape, size = channels * height * width, all = count * size;
  const canvas = root.querySelector("[data-canvas=wipe]"), clarity = root.querySelector("[data-range=clarity]"), wipe = root.querySelector("[data-range=wipe]");
  const error = root.querySelector("[data-check=error]");
  let sigma = Math.floor((data.sigmas.length - 1) / 2), before = "blurred";
  const under = document.createElement("canvas"), over = document.createElement("canvas");
  const columns = count >= 4 ? Math.ceil(count / 2) : count, gap = Math.max(1, Math.round(width / 14));
  clarity.value = data.weights.reduce((best, weight, place) => Math.abs(weight - data.chosen) < Math.abs(data.weights[best] - data.chosen) ? place : best, 0);

  function update() {
    const place = Number(clarity.value), share = Number(wipe.value) / 100;
    const start = (place * data.sigmas.length + sigma) * all;
    const made = restored.values.subarray(start, start + all), given = blurred.values.subarray(sigma * all, (sigma + 1) * all);
    const left = colours(before === "blurred" ? given : clear.values, count, shape);
    const right = error.checked ? errors(clear.values, made, count, shape) : colours(made, count, shape);
    montage(under, left, count, shape, {columns, gap, interleaved: true});
    montage(over, right, count, shape, {columns, gap, interleaved: true});
    paint(share);
    const weight = data.weights[place], row = data.line.find((one) => Math.abs(one.weight - weight) < 1e-9);
    const psnr = meanPsnr(clear.values, made, count), was = meanPsnr(clear.values, given, count);
    const shownThere = error.checked ? "error of the restored image" : "restored", named = `clarity ${weight.toFixed(2)}`;
    setText(root, "clarity", weight.toFixed(weight * 10 % 1 < 1e-9 || weight * 10 % 1 > 1 - 1e-9 ? 1 : 2));
    setText(root, "wipe", `${wipe.value} %`);
    setText(root, "left", before === "blurred" ? `← blurred, ${was.toFixed(1)} dB` : "← the truth");
    setText(root, "right", `${shownThere}, ${named}, ${psnr.toFixed(1)} dB →`);
    clarity.setAttribute("aria-valuetext", named);
    canvas.setAttribute("aria-label", `${count} test images under a blur of sigma ${data.sigmas[sigma]}: ${before === "blurred" ? "blurred" : "the truth"} to the left of the wipe, ${shownThere} with ${named} to the right; PSNR from ${was.toFixed(1)} to ${psnr.toFixed(1)} dB`);
    const heldout = row && (row.heldout_clear ?? row.heldout_score);
    setText(root, "measured", row ? `On all ${data.scored} images, over all sigmas: PSNR ${row.psnr.toFixed(2)} dB, ${row.heldout_clear === undefined ? `held-out disc ${heldout.toFixed(2)}, above 0 is clear` : `${(100 * heldout).toFixed(0)} % clear to the held-out disc`}. The decibels under the pictures are of these ${count} only.` : "");
    drawFrontier(row);
  }

  // Every image is wiped at the same place.
  function paint(share) {
    const scale = Math.max(1, Math.round(900 / under.width)), pen = canvas.getContext("2d");
    canvas.width = under.width * scale;
    canvas.height = under.height * scale;
    pen.imageSmoothingEnabled = false;
    pen.drawImage(under, 0, 0, canvas.width, canvas.height);
    for (let image = 0; image < count; image++) {
      const x = (image % columns) * (width + gap), y = Math.floor(image / columns) * (height + gap), edge = x + share * width;
      if (share < 1) pen.drawImage(over, edge, y, x + width - edge, height, edge * scale, y * scale, (x + width - edge) * scale, height * scale);
      pen.fillStyle = "#ffb000";
      if (share > 0 && share < 1) pen.fillRect(edge * scale - 1, y * scale, 2, height * scale);
    }
  }

  function drawFrontier(row) {
    const score = (one) => one.heldout_clear ?? one.heldout_score, line = data.line.filter((one) => Number.isFinite(score(one)) && Number.isFinite(one.psnr));
    const svg = root.querySelector("svg.frontier");
    if (line.length < 2) { svg.setAttribute("hidden", ""); return; }
    const ends = (numbers) => { const low = Math.min(...numbers), high = Math.max(...numbers), pad = 0.08 * (high - low) || 0.1; return [low - pad, high + pad]; };
    const chart = plot(svg, ends(line.map(score)), ends(line.map((one) => one.psnr)), "PSNR against clearness from clarity 0 to 1");
    chart.shape("polyline", "curve", line.map((one) => [score(one), one.psnr]));
    for (const one of line) chart.dot("point", score(one), one.psnr, 3);
    if (row) chart.dot("here", score(row), row.psnr, 6);
    chart.ticks("held-out disc: clearer →", "PSNR dB");
  }

  // A drag stays with the picture it began on; a mouse that only passes wipes the one below it.
  let begun = null;
  canvas.addEventListener("pointermove", (event) => { if (event.buttons || event.pointerType === "mouse") drag(event); });
  canvas.addEventListener("pointerdown", (event) => { begun = null; drag(event); canvas.setPointerCapture(event.pointerId); });
  function drag(event) {
    const box = canvas.getBoundingClientRect(), period = width + gap;
    const place = (event.clientX - box.left) / box.width * (columns * period - gap);
    if (!event.buttons) begun = null;
    const column = begun ?? Math.min(Math.max(Math.floor(place / period), 0), columns - 1);
    if (event.buttons) begun = column;
    wipe.value = Math.round(100 * Math.min(Math.max((place - column * period) / width, 0), 1));
    update();
  }
  for (const input of [clarity, wipe, error]) input.addEventListener("input", update);
  radios(root, "sigma", data.sigmas.map((value, place) => [String(place), String(value)]), String(sigma), (place) => { sigma = Number(place); update(); });
  radios(root, "before", [["blurred", "blurred"], ["truth", "the truth"]], before, (name) => { before = name; update(); });
  update();
  whenResized(root.querySelector("svg.frontier"), update);
}

// The mean of the images' own PSNR, in decibels; pixels are 8-bit.
function meanPsnr(truth, made, count) {
  const size = truth.length / count;
  let sum = 0;
  for (let image = 0; image < count; image++) {
    let squares = 0;
    for (let at = image * size; at < (image + 1) * size; at++) squares += ((truth[at] - made[at]) / 255) ** 2;
    sum += -10 * Math.log10(Math.max(squares / size, 1e-12));
  }
  return sum / count;
}
