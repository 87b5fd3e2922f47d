export { compileRocmStep } from "./rocm-step.ts";
