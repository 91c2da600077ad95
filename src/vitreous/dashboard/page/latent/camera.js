// Where the reader looks: a flat camera (pan, zoom) and an orbiting one, both as 4×4 matrices
// in WebGL's column order.

/** Looks straight at two axes; `scale` 1 shows −1…1. */
export class FlatCamera {
  constructor() {
    this.reset();
  }

  reset() {
    this.x = 0;
    this.y = 0;
    this.scale = 0.92;
  }

  get zoom() {
    return this.scale / 0.92;
  }

  matrix() {
    const s = this.scale;
    return new Float32Array([s, 0, 0, 0, 0, s, 0, 0, 0, 0, 1, 0, -this.x * s, -this.y * s, 0, 1]);
  }

  /** Move by a fraction of the plot. */
  pan(dx, dy) {
    this.x -= (2 * dx) / this.scale;
    this.y += (2 * dy) / this.scale;
  }

  /** Zoom about a point given in −1…1 of the plot, which stays where it is. */
  zoomAt(factor, cx, cy) {
    const next = Math.min(4000, Math.max(0.2, this.scale * factor));
    this.x += cx / this.scale - cx / next;
    this.y += cy / this.scale - cy / next;
    this.scale = next;
  }

  /** Clip coordinates → axes' coordinates. */
  inverse(cx, cy) {
    return [cx / this.scale + this.x, cy / this.scale + this.y];
  }
}

/** Turns about the middle of three axes. */
export class OrbitCamera {
  constructor() {
    this.aspect = 1;
    this.reset();
  }

  reset() {
    this.yaw = 0.6;
    this.pitch = 0.35;
    this.distance = 4;
  }

  get zoom() {
    return 4 / this.distance;
  }

  pan(dx, dy) {
    this.yaw += 4 * dx;
    this.pitch = Math.min(1.55, Math.max(-1.55, this.pitch + 4 * dy));
  }

  zoomAt(factor) {
    this.distance = Math.min(40, Math.max(0.8, this.distance / factor));
  }

  matrix() {
    const [cy, sy, cp, sp] = [Math.cos(this.yaw), Math.sin(this.yaw), Math.cos(this.pitch), Math.sin(this.pitch)];
    // Rows of the rotation: yaw about the vertical, then pitch about the screen's horizontal.
    const right = [cy, 0, -sy];
    const up = [sp * sy, cp, sp * cy];
    const toward = [cp * sy, -sp, cp * cy];
    const f = 1.9;
    const [near, far] = [0.05, 100];
    const a = -(far + near) / (far - near);
    const b = (-2 * far * near) / (far - near);
    const out = new Float32Array(16);
    for (let k = 0; k < 3; k++) {
      out[4 * k] = (f / this.aspect) * right[k];
      out[4 * k + 1] = f * up[k];
      out[4 * k + 2] = a * toward[k];
      out[4 * k + 3] = -toward[k];
    }
    out[14] = -a * this.distance + b;
    out[15] = this.distance;
    return out;
  }
}
