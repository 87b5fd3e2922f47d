import { homedir } from "node:os";
import { join } from "node:path";

/** Where downloaded models and prepared graphs are kept: `TASTEMAKER_CACHE`, else the system's usual place. Nothing is created. */
export function cacheDirectory(): string {
  const { TASTEMAKER_CACHE: own, XDG_CACHE_HOME: xdg, LOCALAPPDATA: local } = process.env;
  if (own !== undefined && own !== "") return own;
  if (process.platform === "win32" && local !== undefined) return join(local, "tastemaker", "cache");
  if (process.platform === "darwin") return join(homedir(), "Library", "Caches", "tastemaker");
  return join(xdg !== undefined && xdg !== "" ? xdg : join(homedir(), ".cache"), "tastemaker");
}
