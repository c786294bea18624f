// Goal: no acknowledged command is lost by SIGKILL, however often.
// Method: a real process proposes and prints what was acknowledged; it is killed at a random moment and started again.

import { expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { seededRng } from '../../src/lib/rng.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const entry = join(import.meta.dir, 'member-entry.ts')
const rounds = 5
const seed = Number(process.env['SEED'] ?? Date.now() % 1_000_000)

test(`${rounds} kills of a member lose no acknowledged command (SEED=${seed})`, async () => {
  const dir = mkdtempSync(join(tmpdir(), 'pf-member-'))
  const rng = seededRng(seed)
  const acknowledged = new Set<string>()
  for (let round = 0; round < rounds; round++) {
    const child = Bun.spawn([process.execPath, entry, dir, `r${round}`], { stdout: 'pipe', stderr: 'inherit' })
    const killAfter = 20 + rng.below(200)
    let seen = 0
    let rest = ''
    for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
      const lines = (rest + chunk).split('\n')
      rest = lines.pop()!
      for (const line of lines) acknowledged.add(line)
      seen += lines.length
      if (seen >= killAfter) child.kill('SIGKILL')
    }
    await child.exited
  }
  const verify = Bun.spawn([process.execPath, entry, dir, 'verify'], { stdout: 'pipe', stderr: 'inherit' })
  const found = new Set((await new Response(verify.stdout).text()).split('\n'))
  expect(await verify.exited).toBe(0)
  expect(acknowledged.size).toBeGreaterThan(rounds * 20)
  expect([...acknowledged].filter((id) => !found.has(id))).toEqual([])
  rmSync(dir, { recursive: true })
}, 180_000)
