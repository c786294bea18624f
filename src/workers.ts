// Worker entry points. `new URL('./x.ts', import.meta.url)` is resolved against the bundle's root in the compiled binary,
// not against the module's folder; this file lies at the root of the entry points, where both agree.

/** Every Worker of the program; each is an entry point of the build. Paths below `src/`, without extension. */
export const workerEntries = ['ipc/zmq/poll-worker', 'replicate/restore-worker'] as const
export type WorkerEntry = (typeof workerEntries)[number]

/** What to pass to `new Worker(…)`, compiled or from source. */
export function workerUrl(entry: WorkerEntry): string {
  return Bun.isStandaloneExecutable ? `/$bunfs/root/${entry}.js` : new URL(`./${entry}.ts`, import.meta.url).href
}
