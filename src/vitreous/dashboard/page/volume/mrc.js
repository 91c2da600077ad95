// MRC files as the server sends them: mode 2 (float32), little-endian, axes in the order x, y, z.

/** Parse bytes into {nx, ny, nz, voxel (Å), values} with x fastest. */
export function parseMrc(bytes) {
  const header = new DataView(bytes);
  if (bytes.byteLength < 1024) throw new Error("The server sent no volume.");
  const int = (word) => header.getInt32(4 * (word - 1), true);
  const [nx, ny, nz, mode] = [1, 2, 3, 4].map(int);
  if (mode !== 2) throw new Error(`The volume has MRC mode ${mode}, not 2.`);
  const width = header.getFloat32(40, true);
  const start = 1024 + int(24);
  const need = 4 * nx * ny * nz;
  if (bytes.byteLength < start + need) throw new Error("The volume arrived incomplete.");
  const values = new Float32Array(bytes.slice(start, start + need));
  return { nx, ny, nz, voxel: width > 0 ? width / int(8) : 1, values };
}

/** Mean, standard deviation, lowest and highest value. */
export function moments(values) {
  let [sum, square, low, high] = [0, 0, Infinity, -Infinity];
  for (const v of values) {
    sum += v;
    square += v * v;
    if (v < low) low = v;
    if (v > high) high = v;
  }
  const mean = sum / values.length;
  return { mean, sigma: Math.sqrt(Math.max(0, square / values.length - mean * mean)), low, high };
}

/** Average blocks of 2³ voxels: for the surface while the level moves in a large box. */
export function halve(volume) {
  const [nx, ny, nz] = [volume.nx >> 1, volume.ny >> 1, volume.nz >> 1];
  const { values } = volume;
  const out = new Float32Array(nx * ny * nz);
  const row = volume.nx;
  const plane = volume.nx * volume.ny;
  let at = 0;
  for (let k = 0; k < nz; k++) {
    for (let j = 0; j < ny; j++) {
      for (let i = 0; i < nx; i++) {
        const o = 2 * k * plane + 2 * j * row + 2 * i;
        const near = values[o] + values[o + 1] + values[o + row] + values[o + row + 1];
        const p = o + plane;
        out[at++] = (near + values[p] + values[p + 1] + values[p + row] + values[p + row + 1]) / 8;
      }
    }
  }
  return { nx, ny, nz, voxel: 2 * volume.voxel, values: out };
}
