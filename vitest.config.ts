import { defineConfig } from "vitest/config";

export default defineConfig({
  resolve: { conditions: ["@tastemaker/source"] },
  ssr: { resolve: { conditions: ["@tastemaker/source"] } },
  test: {
    include: ["packages/*/src/**/*.test.ts"],
    testTimeout: 300_000,
    hookTimeout: 300_000,
    pool: "forks",
    maxWorkers: 2,
    onConsoleLog: (log) => {
      throw new Error(`a test printed to the console: ${log}`);
    },
  },
});
