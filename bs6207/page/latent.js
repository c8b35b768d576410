// The plane of a latent of two dimensions, decoded where one points; and images by latent size.

async function planeExplorer(root, all) {
  const data = all.plane, [low, high] = data.ends, [channels, height, width] = data.shape;
  const latents = (await unpack(data.latents)).values;
  const pixels = data.pixels && (await unpack(data.pixels)).values;
  const decode = data.layers ? await network(data.layers) : interpolation(await unpack(data.grid), data.ends);
  const canvas = root.querySelector("canvas.plane"), pen = canvas.getContext("2d");
  const decoded = root.querySelector("[data-canvas=decoded]"), nearest = root.querySelector("[data-canvas=nearest]");
  const size = channels * height * width, count = latents.length / 2;
  const margin = [0, 1].map((axis) => 0.04 * (high[axis] - low[axis]) || 1);
  const from = low.map((value, axis) => value - margin[axis]), to = high.map((value, axis) => value + margin[axis]);
  const names = Object.keys(data.colours);
  let colour = names[0], place = [0, 1].map((axis) => (low[axis] + high[axis]) / 2), map = null, queued = false;

  const sideX = (value) => (value - from[0]) / (to[0] - from[0]) * canvas.width;
  const sideY = (value) => (to[1] - value) / (to[1] - from[1]) * canvas.height;
  const titled = (name) => data.clusterers.includes(name) ? `${name} cluster` : name;
  const describe = (image) => names.map((name) => `${titled(name)} ${data.colours[name].names[data.colours[name].places[image]]}`).join(", ");

  function paintPlane() {
    const side = Math.round(Math.min(canvas.clientWidth, 768) * Math.min(devicePixelRatio, 2));
    if (canvas.width !== side) canvas.width = canvas.height = side;
    pen.fillStyle = theme("--card");
    pen.fillRect(0, 0, side, side);
    if (map) pen.drawImage(map, sideX(low[0]), sideY(high[1]), sideX(high[0]) - sideX(low[0]), sideY(low[1]) - sideY(high[1]));
    const radius = side / 768 * 3.4 + 0.6;
    for (let image = 0; image < count && !map; image++) {
      const group = colour === undefined ? 0 : data.colours[colour].places[image];
      pen.fillStyle = hue(group, colour === undefined ? 1 : data.colours[colour].names.length);
      pen.beginPath();
      pen.arc(sideX(latents[2 * image]), sideY(latents[2 * image + 1]), radius, 0, 7);
      pen.fill();
    }
    pen.strokeStyle = map ? "#ffb000" : theme("--ink");
    pen.lineWidth = Math.max(1.5, side / 400);
    const [x, y] = [sideX(place[0]), sideY(place[1])], arm = side / 40, [image] = closest();
    pen.beginPath();
    pen.moveTo(x - arm, y); pen.lineTo(x + arm, y); pen.moveTo(x, y - arm); pen.lineTo(x, y + arm);
    pen.stroke();
    ring(x, y, arm / 2);
    if (!map) ring(sideX(latents[2 * image]), sideY(latents[2 * image + 1]), 2.2 * radius);
  }

  function ring(x, y, radius) {
    pen.beginPath();
    pen.arc(x, y, radius, 0, 7);
    pen.stroke();
  }

  function update() {
    queued = false;
    root.place = [...place];
    root.image = decode(place);
    montage(decoded, eightBits(root.image), 1, data.shape, {columns: 1});
    const [image, distance] = closest();
    for (const [axis, name] of ["z1", "z2"].entries()) {
      setText(root, name, place[axis].toFixed(2));
      root.querySelector(`[data-range=${name}]`).value = place[axis];
    }
    const what = describe(image);
    decoded.setAttribute("aria-label", `what ${place.map((value) => value.toFixed(2)).join(", ")} decodes to; the nearest test image is ${what || image}`);
    setText(root, "where", `Nearest test image: ${what || `number ${data.images[image]}`}, ${distance.toFixed(2)} away.`);
    if (nearest && pixels) {
      montage(nearest, pixels.subarray(image * size, (image + 1) * size), 1, data.shape, {columns: 1});
      nearest.setAttribute("aria-label", `nearest test image: ${what}`);
      setText(root, "nearest", what || `test image ${data.images[image]}`);
    }
    paintPlane();
  }

  function closest() {
    let best = 0, least = Infinity;
    for (let image = 0; image < count; image++) {
      const distance = Math.hypot(latents[2 * image] - place[0], latents[2 * image + 1] - place[1]);
      if (distance < least) [best, least] = [image, distance];
    }
    return [best, least];
  }

  function move(z1, z2) {
    place = [z1, z2].map((value, axis) => Math.min(Math.max(value, from[axis]), to[axis]));
    if (!queued) requestAnimationFrame(update);
    queued = true;
  }

  const follow = (event) => {
    const box = canvas.getBoundingClientRect();
    move(from[0] + (event.clientX - box.left) / box.width * (to[0] - from[0]), to[1] - (event.clientY - box.top) / box.height * (to[1] - from[1]));
  };
  canvas.addEventListener("pointerdown", follow);
  canvas.addEventListener("pointermove", follow);
  canvas.addEventListener("keydown", (event) => {
    const step = {ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, 1], ArrowDown: [0, -1]}[event.key];
    if (!step) return;
    event.preventDefault();
    const far = event.shiftKey ? 0.08 : 0.015;
    move(...place.map((value, axis) => value + step[axis] * far * (to[axis] - from[axis])));
  });
  for (const [axis, name] of ["z1", "z2"].entries()) {
    const range = root.querySelector(`[data-range=${name}]`);
    range.min = from[axis];
    range.max = to[axis];
    range.addEventListener("input", () => move(...place.map((value, other) => other === axis ? Number(range.value) : value)));
  }
  root.querySelector("[data-check=map]").addEventListener("change", (event) => {
    map = event.target.checked ? decodedMap(decode, data) : null;
    root.querySelector("[data-choices=colour]").disabled = map !== null;
    update();
  });

  function legend() {
    root.querySelector("[data-out=legend]").replaceChildren(...(colour === undefined ? [] : data.colours[colour].names.slice(0, 60)).map((name, group, every) => {
      const item = document.createElement("li"), swatch = document.createElement("canvas");
      swatch.width = swatch.height = 1;
      const brush = swatch.getContext("2d");
      brush.fillStyle = hue(group, data.colours[colour].names.length);
      brush.fillRect(0, 0, 1, 1);
      item.append(swatch, data.clusterers.includes(colour) ? `cluster ${name}` : name);
      return item;
    }));
  }
  radios(root, "colour", names.map((name) => [name, data.clusterers.includes(name) ? `cluster (${name})` : name]), colour, (name) => { colour = name; legend(); update(); });
  legend();
  update();
  root.decode = decode;
  whenResized(canvas, update);
}

// Linear layers with ReLU between them and a sigmoid at the end.
async function network(layers) {
  const ready = [];
  for (const layer of layers) ready.push({weight: (await unpack(layer.weight)).values, bias: (await unpack(layer.bias)).values});
  return (place) => {
    let values = Float64Array.from(place);
    for (const [number, {weight, bias}] of ready.entries()) {
      const next = new Float64Array(bias.length), inputs = values.length;
      for (let row = 0, at = 0; row < next.length; row++) {
        let sum = bias[row];
        for (let column = 0; column < inputs; column++) sum += weight[at++] * values[column];
        next[row] = number === ready.length - 1 ? 1 / (1 + Math.exp(-sum)) : Math.max(sum, 0);
      }
      values = next;
    }
    return values;
  };
}

// Between the four nearest of the images that were decoded on an even grid, [rows, columns, C, H, W].
function interpolation(grid, [low, high]) {
  const [rows, columns, ...shape] = grid.shape, size = shape.reduce((a, b) => a * b);
  return ([z1, z2]) => {
    const spot = (value, axis, count) => Math.min(Math.max((value - low[axis]) / (high[axis] - low[axis] || 1), 0), 1) * (count - 1);
    const column = spot(z1, 0, columns), row = spot(z2, 1, rows);
    const left = Math.min(Math.floor(column), columns - 2), below = Math.min(Math.floor(row), rows - 2);
    const image = new Float64Array(size);
    for (const [dy, dx] of [[0, 0], [0, 1], [1, 0], [1, 1]]) {
      const share = (dx ? column - left : 1 - column + left) * (dy ? row - below : 1 - row + below);
      const start = ((below + dy) * columns + left + dx) * size;
      for (let pixel = 0; pixel < size; pixel++) image[pixel] += share * grid.values[start + pixel] / 255;
    }
    return image;
  };
}

function decodedMap(decode, {ends: [low, high], shape}) {
  const side = 18, size = shape.reduce((a, b) => a * b), whole = new Uint8Array(side * side * size);
  for (let row = 0; row < side; row++) {
    for (let column = 0; column < side; column++) {
      const share = [column, side - 1 - row].map((number) => (number + 0.5) / side);
      const place = share.map((part, axis) => low[axis] + part * (high[axis] - low[axis]));
      whole.set(eightBits(decode(place)), (row * side + column) * size);
    }
  }
  const canvas = document.createElement("canvas");
  montage(canvas, whole, side * side, shape, {columns: side, gap: 0});
  return canvas;
}

async function sizesExplorer(root, data) {
  const range = root.querySelector("[data-range=dim]"), strip = root.querySelector("[data-canvas=strip]");
  const originals = await unpack(data.originals), shape = originals.shape.slice(1), size = shape.reduce((a, b) => a * b);
  const rows = document.querySelectorAll(`[data-sizes="${root.dataset.run}"] tbody tr`);
  const count = originals.shape[0], made = await Promise.all(data.sizes.map((one) => unpack(one.reconstructions)));
  const middles = await Promise.all(data.sizes.map(async (one) => {
    const every = Object.entries(one.centroids).map(async ([name, kept]) => [name, await unpack(kept.images)]);
    return Object.fromEntries(await Promise.all(every));
  }));
  let clusterer = data.clusterers[0];

  function update() {
    const place = Number(range.value), one = data.sizes[place];
    const whole = new Uint8Array(3 * count * 3 * size / shape[0]);
    const restored = made[place].values;
    const three = [colours(originals.values, count, shape), colours(restored, count, shape), errors(originals.values, restored, count, shape)];
    three.forEach((part, line) => whole.set(part, line * part.length));
    montage(strip, whole, 3 * count, shape, {columns: count, interleaved: true});
    const score = one.l1 === null ? "" : `, test L1 ${one.l1.toFixed(4)}`;
    strip.setAttribute("aria-label", `${count} test images, their reconstructions from ${one.dim} dimensions, and the error per pixel${score}`);
    setText(root, "dim", `${one.dim}${score}`);
    const images = middles[place][clusterer], list = root.querySelector("[data-out=centroids]");
    if (images) {
      list.replaceChildren(...Array.from({length: images.shape[0]}, (_, cluster) => {
        const item = document.createElement("li"), canvas = document.createElement("canvas");
        montage(canvas, images.values.subarray(cluster * size, (cluster + 1) * size), 1, shape, {columns: 1});
        canvas.setAttribute("role", "img");
        canvas.setAttribute("aria-label", `middle of cluster ${cluster}`);
        item.append(canvas, one.centroids[clusterer].captions[cluster] ?? "");
        return item;
      }));
    }
    for (const row of rows) row.classList.toggle("chosen", row.dataset.dim === String(one.dim));
    range.setAttribute("aria-valuetext", `${one.dim} dimensions`);
  }

  range.addEventListener("input", update);
  radios(root, "clusterer", data.clusterers.map((name) => [name, name]), clusterer, (name) => { clusterer = name; update(); });
  if (data.clusterers.length < 2) root.querySelector("[data-choices=clusterer]").hidden = true;
  update();
}
