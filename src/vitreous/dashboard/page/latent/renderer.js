// Points by WebGL 2: columns stay columns, so a new colour costs one byte a point, and every
// k-th point can be drawn by the stride of the attributes alone while the view moves.

const VERTEX = `#version 300 es
layout(location = 0) in float x;
layout(location = 1) in float y;
layout(location = 2) in float z;
layout(location = 3) in uvec2 style; // colour index, selected
uniform mat4 view;
uniform float size, alpha;
uniform bool solid, marked;
uniform vec4 muted;
uniform sampler2D palette;
out vec4 colour;
void main() {
  vec4 at = view * vec4(x, y, solid ? z : 0.0, 1.0);
  bool chosen = style.y == 1u;
  colour = vec4(texelFetch(palette, ivec2(int(style.x), 0), 0).rgb, alpha);
  float scale = 1.0;
  if (solid) {
    scale = clamp(2.6 / at.w, 0.6, 2.2);
    colour.a = mix(alpha, 1.0, 0.35);
  }
  if (marked && !chosen) colour = vec4(muted.rgb, min(alpha, 1.0) * muted.a);
  if (marked && chosen) colour.a = max(colour.a, 0.55);
  // Flat views have no depth of their own: what is selected lies in front.
  if (!solid) at.z = (marked && chosen) ? -0.5 : 0.5;
  gl_Position = at;
  gl_PointSize = size * scale * (marked && chosen ? 1.35 : 1.0);
}`;

const FRAGMENT = `#version 300 es
precision mediump float;
in vec4 colour;
uniform bool round_;
out vec4 pixel;
void main() {
  if (round_ && length(gl_PointCoord - 0.5) > 0.5) discard;
  pixel = vec4(colour.rgb * colour.a, colour.a);
}`;

function compile(gl, kind, source) {
  const shader = gl.createShader(kind);
  gl.shaderSource(shader, source);
  gl.compileShader(shader);
  if (!gl.getShaderParameter(shader, gl.COMPILE_STATUS)) throw new Error(gl.getShaderInfoLog(shader));
  return shader;
}

function link(gl) {
  const program = gl.createProgram();
  gl.attachShader(program, compile(gl, gl.VERTEX_SHADER, VERTEX));
  gl.attachShader(program, compile(gl, gl.FRAGMENT_SHADER, FRAGMENT));
  gl.linkProgram(program);
  if (!gl.getProgramParameter(program, gl.LINK_STATUS)) throw new Error(gl.getProgramInfoLog(program));
  return program;
}

/** Whether the context is drawn by the processor: then our own raster is faster. */
export function isSoftware(gl) {
  const info = gl.getExtension("WEBGL_debug_renderer_info");
  const name = info ? gl.getParameter(info.UNMASKED_RENDERER_WEBGL) : "";
  return /swiftshader|llvmpipe|software|basic render/i.test(name);
}

/** Draws points on a canvas through WebGL 2; `create` gives null where the browser has none. */
export class PointRenderer {
  static create(canvas) {
    const gl = canvas.getContext("webgl2", { antialias: false, premultipliedAlpha: true });
    return gl ? new PointRenderer(canvas, gl) : null;
  }

  constructor(canvas, gl) {
    this.name = "WebGL";
    this.canvas = canvas;
    this.gl = gl;
    this.number = 0;
    this.program = link(gl);
    this.at = Object.fromEntries(
      ["view", "size", "alpha", "solid", "marked", "muted", "palette", "round_"].map((name) => [
        name,
        gl.getUniformLocation(this.program, name),
      ]),
    );
    this.buffers = [0, 1, 2, 3].map(() => gl.createBuffer());
    this.palette = gl.createTexture();
    gl.bindVertexArray(gl.createVertexArray());
    gl.enable(gl.BLEND);
    gl.blendFunc(gl.ONE, gl.ONE_MINUS_SRC_ALPHA);
    gl.enable(gl.DEPTH_TEST);
    gl.depthFunc(gl.LEQUAL);
  }

  /** Positions scaled to about −1…1, one array an axis; `z` null for a flat view. */
  setPositions(x, y, z) {
    this.number = x.length;
    this.#upload(0, x);
    this.#upload(1, y);
    this.hasZ = z !== null;
    if (z) this.#upload(2, z);
  }

  /** Colour index and selected flag, four bytes a point (two are padding). */
  setStyle(style) {
    this.#upload(3, style);
  }

  /** 256 colours, RGBA bytes. */
  setPalette(bytes) {
    const gl = this.gl;
    gl.bindTexture(gl.TEXTURE_2D, this.palette);
    gl.texImage2D(gl.TEXTURE_2D, 0, gl.RGBA, 256, 1, 0, gl.RGBA, gl.UNSIGNED_BYTE, bytes);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MIN_FILTER, gl.NEAREST);
    gl.texParameteri(gl.TEXTURE_2D, gl.TEXTURE_MAG_FILTER, gl.NEAREST);
  }

  draw({ view, size, alpha, marked, muted, every, solid }) {
    const gl = this.gl;
    gl.viewport(0, 0, this.canvas.width, this.canvas.height);
    gl.clearColor(0, 0, 0, 0);
    gl.clear(gl.COLOR_BUFFER_BIT | gl.DEPTH_BUFFER_BIT);
    if (!this.number) return;
    gl.useProgram(this.program);
    gl.uniformMatrix4fv(this.at.view, false, view);
    gl.uniform1f(this.at.size, size);
    gl.uniform1f(this.at.alpha, alpha);
    gl.uniform1i(this.at.solid, solid);
    gl.uniform1i(this.at.marked, marked);
    gl.uniform4fv(this.at.muted, muted);
    gl.uniform1i(this.at.round_, size > 3.5);
    this.#attributes(every, solid && this.hasZ);
    gl.drawArrays(gl.POINTS, 0, Math.floor((this.number - 1) / every) + 1);
  }

  #attributes(every, withZ) {
    const gl = this.gl;
    for (let axis = 0; axis < 3; axis++) {
      if (axis === 2 && !withZ) {
        gl.disableVertexAttribArray(2);
        continue;
      }
      gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[axis]);
      gl.enableVertexAttribArray(axis);
      gl.vertexAttribPointer(axis, 1, gl.FLOAT, false, 4 * every, 0);
    }
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[3]);
    gl.enableVertexAttribArray(3);
    gl.vertexAttribIPointer(3, 2, gl.UNSIGNED_BYTE, 4 * every, 0);
  }

  #upload(index, data) {
    const gl = this.gl;
    gl.bindBuffer(gl.ARRAY_BUFFER, this.buffers[index]);
    gl.bufferData(gl.ARRAY_BUFFER, data, gl.DYNAMIC_DRAW);
  }
}
