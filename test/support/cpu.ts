// What work costs, whatever else the machine does.

/** The least CPU time of some runs, ms: neither a busy machine nor a collection of garbage in one of them counts. */
export function leastCpuMs(work: () => void, runs = 5): number {
  let leastMs = Number.POSITIVE_INFINITY
  for (let run = 0; run < runs; run++) {
    const before = process.cpuUsage()
    work()
    const { user, system } = process.cpuUsage(before)
    leastMs = Math.min(leastMs, (user + system) / 1_000)
  }
  return leastMs
}
