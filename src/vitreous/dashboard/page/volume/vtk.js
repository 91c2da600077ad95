// vtk.js, loaded when the first surface is shown: it is the page's largest file.

let loading;

/** Whether this browser can draw surfaces at all. */
export const hasWebGL = (() => {
  let known;
  return () => {
    if (known === undefined) {
      const context = document.createElement("canvas").getContext("webgl2");
      known = Boolean(context);
      context?.getExtension("WEBGL_lose_context")?.loseContext();
    }
    return known;
  };
})();

/** A promise of the library's namespace. */
export function loadVtk() {
  loading ||= new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = "vendor/vtk/vtk.js";
    script.onload = () => resolve(window.vtk);
    script.onerror = () => {
      loading = undefined;
      reject(new Error("vtk.js could not be loaded."));
    };
    document.head.append(script);
  });
  return loading;
}
