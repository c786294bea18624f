// Ports of this machine for servers that are started a moment later, or again later.

import { systemRng } from './rng.ts'

/** Below what systems take for outgoing connections (Linux: from 32768), so that none of those takes it meanwhile. */
const portMin = 10_000
const portMax = 32_767
/**
 * Ports in a row that a process takes for itself by keeping the first of them open: nothing is bound yet where it says that
 * a port is free, and processes that start side by side must not find the same ones.
 */
const blockPorts = 32
const blocks = Math.floor((portMax - portMin + 1) / blockPorts)
/** Ports and blocks tried before the system is asked for any. */
const attemptsMax = 100

/** Kept until the process ends. */
const claims: Bun.TCPSocketListener[] = []
/** What is left of the last block. */
let left: number[] = []

/** A loopback port that was free a moment ago, and that no other process is given by this function while this one lives. */
export function freePort(): number {
  for (let attempt = 0; attempt < attemptsMax; attempt++) {
    if (left.length === 0) left = claimBlock()
    const port = left.shift()
    if (port !== undefined && canBind(port)) return port
  }
  const listener = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } })
  const { port } = listener
  listener.stop(true)
  return port
}

/** The ports of a block but for its first; none where that is taken. */
function claimBlock(): number[] {
  const first = portMin + systemRng.below(blocks) * blockPorts
  try {
    const claim = Bun.listen({
      hostname: '127.0.0.1',
      port: first,
      exclusive: true,
      socket: { open: (socket) => void socket.end(), data() {} },
    })
    claim.unref()
    claims.push(claim)
  } catch {
    return [] // another process's
  }
  return Array.from({ length: blockPorts - 1 }, (_, index) => first + 1 + index)
}

function canBind(port: number): boolean {
  try {
    Bun.listen({ hostname: '127.0.0.1', port, exclusive: true, socket: { data() {} } }).stop(true)
    return true
  } catch {
    return false // taken, which is all that is asked
  }
}
