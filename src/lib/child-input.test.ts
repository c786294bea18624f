// Goal: a child that ends before it has read what is sent to it costs its parent a rejection that can be awaited, and no
// more: one that nobody hears would end the parent. Method: real pipes, which hold 64 KiB, and real signals.

import { expect, test } from 'bun:test'
import { isAlive } from '../../test/support/processes.ts'
import { endInput, sendInput } from './child-input.ts'

const more = 'x'.repeat(1024 * 1024)
const outcomeOf = (sending: Promise<void>) =>
  sending.then(
    () => 'taken',
    (error: { readonly code?: unknown }) => error.code,
  )

test('texts of any length arrive whole and in order, awaited or not', async () => {
  await using child = Bun.spawn(['cat'], { stdin: 'pipe', stdout: 'pipe' })
  const text = new Response(child.stdout).text()
  await Promise.all([sendInput(child.stdin, more), sendInput(child.stdin, 'a'), sendInput(child.stdin, more)])
  await sendInput(child.stdin, 'b')
  await endInput(child.stdin)
  expect(await text).toBe(`${more}a${more}b`)
})

test('what waits for room in the pipe is refused when the child is killed', async () => {
  await using child = Bun.spawn(['sleep', '600'], { stdin: 'pipe' })
  const [small, large, behind] = ['small', more, 'behind'].map((text) => outcomeOf(sendInput(child.stdin, text)))
  expect(await small).toBe('taken')
  child.kill('SIGKILL')
  expect(await Promise.all([large, behind])).toEqual(['EPIPE', 'EPIPE'])
  await endInput(child.stdin)
})

test('a child that has ended unseen refuses all lengths, and its input can be ended', async () => {
  for (const text of ['small', more]) {
    await using child = Bun.spawn(['true'], { stdin: 'pipe' })
    while (isAlive(child.pid)) Bun.sleepSync(1) // Bun sees its end in the next turn of the event loop at the earliest
    const sending = outcomeOf(sendInput(child.stdin, text))
    await endInput(child.stdin)
    expect(await sending).toBe('EPIPE')
  }
})
