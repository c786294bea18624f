/** A loopback port that was free a moment ago. Something else may take it first: bind soon, and report a clash. */
export function freePort(): number {
  const listener = Bun.listen({ hostname: '127.0.0.1', port: 0, socket: { data() {} } })
  const { port } = listener
  listener.stop(true)
  return port
}
