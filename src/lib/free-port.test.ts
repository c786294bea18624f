import { expect, test } from 'bun:test'
import { join } from 'node:path'
import { freePort } from './free-port.ts'

test('ports are free, differ, and lie below those of outgoing connections', () => {
  const ports = Array.from({ length: 50 }, freePort)
  expect(new Set(ports).size).toBe(50)
  for (const port of ports) {
    expect(port).toBeLessThan(32_768)
    Bun.listen({ hostname: '127.0.0.1', port, socket: { data() {} } }).stop(true)
  }
})

test('processes that live side by side are given different ones, although none of them is bound', async () => {
  const source = `
    import { freePort } from ${JSON.stringify(join(import.meta.dir, 'free-port.ts'))}
    console.log(JSON.stringify(Array.from({ length: 1_000 }, freePort)))
    await Bun.stdin.text()`
  const children = Array.from({ length: 4 }, () =>
    Bun.spawn([process.execPath, '-e', source], { stdin: 'pipe', stdout: 'pipe', stderr: 'inherit' }),
  )
  try {
    const firstLines = children.map(async ({ stdout }) => {
      let text = ''
      for await (const piece of stdout) {
        text += new TextDecoder().decode(piece)
        if (text.includes('\n')) return JSON.parse(text) as number[]
      }
      throw new Error('the process ended')
    })
    const ports = (await Promise.all(firstLines)).flat()
    expect(new Set(ports).size).toBe(ports.length)
    for (const child of children) await child.stdin.end()
    // A claim keeps nobody from ending.
    expect(await Promise.all(children.map(({ exited }) => exited))).toEqual([0, 0, 0, 0])
  } finally {
    for (const child of children) child.kill('SIGKILL')
  }
})
