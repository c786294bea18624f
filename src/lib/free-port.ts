// Ports of this machine for servers that are started a moment later.

import { systemRng } from './rng.ts'

/** Below what systems take for outgoing connections (Linux: from 32768), so that none of those takes it meanwhile. */
const portMin = 10_000
const portMax = 32_767
/** Ports tried before the system is asked for any. */
const attemptsMax = 100

/** What this process was given already: servers that are not up yet must not share one. */
const given = new Set<number>()

/** A loopback port that was free a moment ago. Something else may take it first: bind soon, and report a clash. */
export function freePort(): number {
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    const port = portMin + systemRng.below(portMax - portMin + 1)
    if (given.has(port) || !canBind(port)) continue
    given.add(port)
    return port
  }
  const listener = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } })
  const { port } = listener
  listener.stop(true)
  return port
}

function canBind(port: number): boolean {
  try {
    Bun.listen({ hostname: '127.0.0.1', port, exclusive: true, socket: { data() {} } }).stop(true)
    return true
  } catch {
    return false // taken, which is all that is asked
  }
}
