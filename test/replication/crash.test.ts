// Goal: whatever instant an owner is killed at, every row it acknowledged is in the history, and the next owner, on the
// same node or another one, goes on from there. Method: a real process, SIGKILL at a random moment, several rounds on one
// history; local files are reused, restored, or replaced.

import { Database as Sqlite } from 'bun:sqlite'
import { afterAll, expect, setDefaultTimeout, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openObjectStore } from '../../src/lib/object-store/open.ts'
import { seededRng, systemRng } from '../../src/lib/rng.ts'
import { listLtx } from '../../src/replicate/ltx-store.ts'
import { restoreDatabase } from '../../src/replicate/restore.ts'

setDefaultTimeout(180_000) // a busy machine is no failure

const seed = Number(process.env['SEED'] ?? systemRng.below(1_000_000))
const rounds = Number(process.env['ROUNDS'] ?? 8)
const root = mkdtempSync(join(tmpdir(), 'pf-crash-'))
afterAll(() => rmSync(root, { recursive: true, force: true }))

/** Starts an owner and kills it after `acksBefore` acknowledgements and a few more milliseconds. */
async function runAndKill(options: {
  readonly dir: string
  readonly epoch: number
  readonly first: number
  readonly writers: number
  readonly acksBefore: number
  readonly extraMs: number
}): Promise<{ readonly acked: number[]; readonly origin: string }> {
  const { dir, epoch, first, writers, acksBefore, extraMs } = options
  const child = Bun.spawn(
    [
      process.execPath,
      join(import.meta.dir, 'writer-process.ts'),
      join(root, 'objects'),
      dir,
      String(epoch),
      String(first),
      String(writers),
    ],
    { stdin: 'ignore', stdout: 'pipe', stderr: 'inherit' },
  )
  const acked: number[] = []
  let origin = ''
  let killing: Promise<void> | null = null
  let text = ''
  for await (const chunk of child.stdout.pipeThrough(new TextDecoderStream())) {
    text += chunk
    const lines = text.split('\n')
    text = lines.pop()!
    for (const line of lines) {
      const [word, value] = line.split(' ')
      if (word === 'ready') origin = value!
      else acked.push(Number(value))
    }
    if (origin !== '' && acked.length >= acksBefore) killing ??= Bun.sleep(extraMs).then(() => child.kill('SIGKILL'))
  }
  await child.exited
  await killing
  return { acked, origin }
}

test(`a killed owner loses nothing it acknowledged (SEED=${seed})`, async () => {
  const rng = seededRng(seed)
  const everAcked = new Set<number>()
  const origins = new Set<string>()
  let first = 1
  let dir = join(root, 'node-0')
  for (let round = 0; round < rounds; round++) {
    if (round % 3 === 2) dir = join(root, `node-${rng.below(3)}`)
    const { acked, origin } = await runAndKill({
      dir,
      epoch: round + 1,
      first,
      writers: 1 + rng.below(4),
      acksBefore: rng.below(25),
      extraMs: rng.below(40),
    })
    expect(origin).not.toBe('')
    origins.add(origin)
    for (const id of acked) everAcked.add(id)
    first += 1_000

    const at = { store: await openObjectStore({ kind: 'file', dir: join(root, 'objects') }), prefix: 't/crash/data.db' }
    const path = join(root, `check-${round}.db`)
    await restoreDatabase(at, path, { target: null })
    const db = new Sqlite(path)
    const ids = new Set(
      db
        .query<{ id: number }, []>('SELECT id FROM t')
        .all()
        .map((row) => row.id),
    )
    expect(db.query('PRAGMA integrity_check').get()).toEqual({ integrity_check: 'ok' })
    db.close()
    expect([...everAcked].filter((id) => !ids.has(id))).toEqual([])
    const slots = (await listLtx(at)).filter((file) => file.level === 0).map((file) => Number(file.maxTxid))
    expect(slots.sort((a, b) => a - b)).toEqual(slots.map((_, index) => index + 1))
  }
  expect(everAcked.size).toBeGreaterThan(0)
  expect(origins.has('local')).toBe(true)
}, 180_000)
