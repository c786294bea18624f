// Children are started as ourselves, whether we run compiled or from source.

import { fileURLToPath } from 'node:url'

const mainFile = fileURLToPath(new URL('../main.ts', import.meta.url))

/** The argv that starts this very program with `args`: the binary, or Bun with `src/main.ts`. */
export function selfCommand(args: readonly string[]): string[] {
  return Bun.isStandaloneExecutable ? [process.execPath, ...args] : [process.execPath, mainFile, ...args]
}
