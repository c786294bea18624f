import { expect, test } from 'bun:test'
import { freePort } from './free-port.ts'

test('ports are free, differ, and lie below those of outgoing connections', () => {
  const ports = Array.from({ length: 50 }, freePort)
  expect(new Set(ports).size).toBe(50)
  for (const port of ports) {
    expect(port).toBeLessThan(32_768)
    Bun.listen({ hostname: '127.0.0.1', port, socket: { data() {} } }).stop(true)
  }
})
