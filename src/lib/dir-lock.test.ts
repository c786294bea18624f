// Goal: two living processes never share a directory, and a dead one never blocks it.
// Method: real processes that hold the lock and are killed.

import { expect, test } from 'bun:test'
import { existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { systemClock } from './clock.ts'
import { DirectoryLockedError, lockFile, lockWhenFree } from './dir-lock.ts'

const module = join(import.meta.dir, 'dir-lock.ts')

async function holder(path: string) {
  const script = `import { lockFile } from ${JSON.stringify(module)}
    const lock = lockFile(${JSON.stringify(path)})
    console.log('held')
    setInterval(() => lock, 1000)`
  const child = Bun.spawn([process.execPath, '-e', script], { stdout: 'pipe', stderr: 'inherit' })
  const reader = child.stdout.getReader()
  await reader.read()
  reader.releaseLock()
  return child
}

test('a living process keeps the lock, a killed one frees it', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'pf-lock-'))
  const path = join(dir, 'lock')
  const child = await holder(path)
  try {
    let refusal: unknown
    try {
      lockFile(path)
    } catch (error) {
      refusal = error
    }
    expect(refusal).toBeInstanceOf(DirectoryLockedError)
    expect((refusal as DirectoryLockedError).holderPid).toBe(child.pid)
    const waiting = lockWhenFree(path, 5_000, systemClock)
    child.kill('SIGKILL')
    const lock = await waiting
    expect(() => lockFile(path)).toThrow(DirectoryLockedError) // also within one process
    lock.release()
    lock.release()
    lockFile(path).release()
  } finally {
    child.kill('SIGKILL')
    await child.exited
    rmSync(dir, { recursive: true })
  }
})

test('locks whose files are removed with them have one holder at a time all the same', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'pf-lock-'))
  const path = join(dir, 'lock')
  const script = `import { mkdirSync, rmdirSync } from 'node:fs'
    import { lockFile } from ${JSON.stringify(module)}
    for (let rounds = 0; rounds < 100; ) {
      let lock
      try {
        lock = lockFile(${JSON.stringify(path)})
      } catch (error) {
        if (error.code !== 'directory_locked') throw error
        continue
      }
      mkdirSync(${JSON.stringify(join(dir, 'inside'))}) // throws where somebody else is
      rmdirSync(${JSON.stringify(join(dir, 'inside'))})
      lock.remove()
      rounds++
    }`
  const children = [1, 2, 3].map(() => Bun.spawn([process.execPath, '-e', script], { stderr: 'inherit' }))
  expect(await Promise.all(children.map((child) => child.exited))).toEqual([0, 0, 0])
  expect(existsSync(path)).toBe(false)
  rmSync(dir, { recursive: true })
}, 180_000)

test('a file that a dead process left behind blocks nobody', () => {
  const dir = mkdtempSync(join(tmpdir(), 'pf-lock-'))
  writeFileSync(join(dir, 'lock'), '1\n') // process 1 lives, but does not hold it
  using lock = lockFile(join(dir, 'lock'))
  expect(lock).toBeDefined()
  rmSync(dir, { recursive: true })
})

test('a lock file that cannot be opened is told apart from a held one', () => {
  const dir = mkdtempSync(join(tmpdir(), 'pf-lock-'))
  expect(() => lockFile(dir)).toThrow('cannot open the lock file')
  rmSync(dir, { recursive: true })
})
