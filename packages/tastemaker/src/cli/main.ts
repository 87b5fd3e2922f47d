#!/usr/bin/env node
import { runCommandLine } from "./run-command-line.ts";

// A reader that closes early (`tastemaker inspect model | head`) is no error.
process.stdout.on("error", (error: NodeJS.ErrnoException) => {
  if (error.code === "EPIPE") process.exit(0);
  throw error;
});

// The exit code is set instead of exiting, so that everything written still reaches a pipe.
process.exitCode = await runCommandLine(process.argv.slice(2));
