// Surfaces, points and arrows in one vtk.js window. Lengths are in Å; the box is centred at zero.

import { token } from "../core/theme.js";
import { halve } from "./mrc.js";
import { loadVtk } from "./vtk.js";

const ARROWS = 160; // more of them hide each other
const LARGE = 130; // boxes above this are halved while the level moves

const rgb = (name) => {
  const hex = token(name).slice(1);
  return [0, 2, 4].map((k) => parseInt(hex.slice(k, k + 2), 16) / 255);
};

/** One window; `create` resolves once vtk.js is there. */
export class Scene {
  static async create(host) {
    return new Scene(host, await loadVtk());
  }

  constructor(host, vtk) {
    this.vtk = vtk;
    this.host = host;
    const { Rendering } = vtk;
    this.window = Rendering.Misc.vtkGenericRenderWindow.newInstance({ background: rgb("--viewport"), listenWindowResize: false });
    this.window.setContainer(host);
    this.renderer = this.window.getRenderer();
    this.renderer.getActiveCamera().setParallelProjection(false);
    this.surfaces = new Map();
    this.extras = [];
    // A hidden pane has no size; vtk.js must not be resized to it.
    this.observer = new ResizeObserver(() => this.resize());
    this.observer.observe(host);
    this.window.getInteractor().onAnimation(() => this.onmove?.());
    this.window.getInteractor().onEndAnimation(() => this.onmove?.());
  }

  resize() {
    if (!this.host.clientWidth || !this.host.clientHeight) return;
    // A narrow pane keeps the width of the view, a wide one its height.
    const narrow = this.host.clientWidth < this.host.clientHeight;
    this.renderer.getActiveCamera().setUseHorizontalViewAngle(narrow);
    this.window.resize();
    this.render();
  }

  render() {
    if (this.host.clientWidth) this.window.getRenderWindow().render();
  }

  theme() {
    this.window.setBackground(rgb("--viewport"));
    for (const surface of this.surfaces.values()) surface.actor.getProperty().setColor(...rgb(surface.colour));
    this.render();
  }

  /** Share another scene's eye, so that two volumes turn together. */
  follow(other) {
    this.renderer.setActiveCamera(other.renderer.getActiveCamera());
    this.onmove = () => other.render();
    other.onmove = () => this.render();
    this.renderer.resetCameraClippingRange();
    this.render();
  }

  #image(volume) {
    const { nx, ny, nz, voxel, values } = volume;
    const image = this.vtk.Common.DataModel.vtkImageData.newInstance();
    image.setDimensions(nx, ny, nz);
    image.setSpacing(voxel, voxel, voxel);
    image.setOrigin(...[nx, ny, nz].map((n) => -voxel * (n >> 1)));
    image.getPointData().setScalars(this.vtk.Common.Core.vtkDataArray.newInstance({ name: "density", numberOfComponents: 1, values }));
    return image;
  }

  /** Show a volume as a surface under a name, replacing what had it. */
  setVolume(name, volume, level, { colour = "--surface", opacity = 1 } = {}) {
    let surface = this.surfaces.get(name);
    const first = this.surfaces.size === 0;
    if (!surface) {
      const { Rendering, Filters } = this.vtk;
      const cubes = Filters.General.vtkImageMarchingCubes.newInstance({ computeNormals: true, mergePoints: true });
      const mapper = Rendering.Core.vtkMapper.newInstance({ scalarVisibility: false });
      const actor = Rendering.Core.vtkActor.newInstance();
      mapper.setInputConnection(cubes.getOutputPort());
      actor.setMapper(mapper);
      this.renderer.addActor(actor);
      surface = { cubes, actor };
      this.surfaces.set(name, surface);
    }
    Object.assign(surface, { image: this.#image(volume), colour, coarse: volume.nx > LARGE ? this.#image(halve(volume)) : null });
    const property = surface.actor.getProperty();
    property.setColor(...rgb(colour));
    property.setOpacity(opacity);
    property.setAmbient(0.2);
    property.setDiffuse(0.8);
    property.setSpecular(0.18);
    property.setSpecularPower(18);
    this.setLevel(name, level);
    if (first) this.reset(volume);
  }

  /** Move a surface's level; `rough` while a slider moves. */
  setLevel(name, level, rough = false) {
    const surface = this.surfaces.get(name);
    if (!surface) return;
    surface.cubes.setInputData(rough && surface.coarse ? surface.coarse : surface.image);
    surface.cubes.setContourValue(level);
    this.render();
  }

  removeVolume(name) {
    const surface = this.surfaces.get(name);
    if (!surface) return;
    this.renderer.removeActor(surface.actor);
    surface.actor.delete();
    this.surfaces.delete(name);
    this.render();
  }

  /** Look along z at the whole box. */
  reset(volume) {
    const side = volume ? volume.nx * volume.voxel : 100;
    const camera = this.renderer.getActiveCamera();
    camera.setFocalPoint(0, 0, 0);
    camera.setPosition(0.9 * side, 0.55 * side, 1.5 * side);
    camera.setViewUp(0, 1, 0);
    camera.setViewAngle(26);
    this.renderer.resetCameraClippingRange();
    this.render();
  }

  /** Gaussians as spheres where they are now, arrows from where they rest; null removes both. */
  setGaussians(model, { points = true, arrows = true } = {}) {
    model = points || arrows ? model : null;
    if (!model && !this.extras.length) return;
    for (const actor of this.extras) {
      this.renderer.removeActor(actor);
      actor.delete();
    }
    this.extras = [];
    // They lie inside the surface.
    this.surfaces.get("main")?.actor.getProperty().setOpacity(model ? 0.3 : 1);
    if (model && points) this.extras.push(this.#spheres(model));
    if (model && arrows && model.displacements?.length) this.extras.push(this.#arrows(model));
    this.extras.forEach((actor) => this.renderer.addActor(actor));
    this.renderer.resetCameraClippingRange();
    this.render();
  }

  #glyphs(positions, arrays, source, settings) {
    const { Common, Rendering } = this.vtk;
    const data = Common.DataModel.vtkPolyData.newInstance();
    data.getPoints().setData(Float32Array.from(positions.flat()), 3);
    for (const [name, values, components] of arrays) {
      data.getPointData().addArray(Common.Core.vtkDataArray.newInstance({ name, values: Float32Array.from(values), numberOfComponents: components }));
    }
    const mapper = Rendering.Core.vtkGlyph3DMapper.newInstance({ scalarVisibility: false, ...settings });
    mapper.setInputData(data, 0);
    mapper.setInputConnection(source.getOutputPort(), 1);
    const actor = Rendering.Core.vtkActor.newInstance();
    actor.setMapper(mapper);
    return actor;
  }

  #spheres({ positions, displacements, widths }) {
    const source = this.vtk.Filters.Sources.vtkSphereSource.newInstance({ radius: 0.5, thetaResolution: 10, phiResolution: 8 });
    const sizes = positions.map((_, k) => widths?.[k] ?? widths?.[0] ?? 2);
    const moved = positions.map((p, k) => p.map((v, j) => v + (displacements?.[k][j] ?? 0)));
    const actor = this.#glyphs(moved, [["width", sizes, 1]], source, { scaling: true, scaleArray: "width", scaleMode: 1, scaleFactor: 1 });
    actor.getProperty().setColor(...rgb("--gaussian"));
    return actor;
  }

  #arrows(model) {
    const every = Math.ceil(model.positions.length / ARROWS);
    const [positions, displacements] = [model.positions, model.displacements].map((rows) => rows.filter((_, k) => k % every === 0));
    const source = this.vtk.Filters.Sources.vtkArrowSource.newInstance({ tipResolution: 10, shaftResolution: 8, tipRadius: 0.12, shaftRadius: 0.045 });
    const lengths = displacements.map((d) => Math.hypot(...d));
    const actor = this.#glyphs(
      positions,
      [["displacement", displacements.flat(), 3], ["length", lengths, 1]],
      source,
      { orient: true, orientationArray: "displacement", orientationMode: 0, scaling: true, scaleArray: "length", scaleMode: 1, scaleFactor: 1 },
    );
    actor.getProperty().setColor(...rgb("--arrow"));
    return actor;
  }
}
