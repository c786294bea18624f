// Goal: RocksDB, libzmq and the poll thread work inside a compiled binary that is far from any node_modules, and a
// machine that cannot load them says why. Method: build the smallest program that needs all three, run it elsewhere.

import { afterAll, beforeAll, expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { nativePlugin } from '../../scripts/native-plugin.ts'
import { workerEntries } from '../../src/workers.ts'

const root = join(import.meta.dir, '..', '..')
const dir = mkdtempSync(join(tmpdir(), 'pf-native-'))
const binary = join(dir, 'probe')

beforeAll(async () => {
  const built = await Bun.build({
    entrypoints: [
      join(root, 'test', 'support', 'native-probe.ts'),
      ...workerEntries.map((entry) => join(root, 'src', `${entry}.ts`)),
    ],
    root: join(root, 'src'),
    target: 'bun',
    format: 'esm',
    minify: true,
    plugins: [nativePlugin(root, 'x64')],
    compile: { target: 'bun-linux-x64', outfile: binary, autoloadDotenv: false, autoloadBunfig: false },
  })
  expect(built.success).toBe(true)
}, 180_000)

afterAll(() => rmSync(dir, { recursive: true, force: true }))

function run(environment: Record<string, string>) {
  const cwd = mkdtempSync(join(dir, 'empty-'))
  const { stdout, stderr, exitCode } = Bun.spawnSync([binary, join(cwd, 'rocks')], {
    cwd,
    env: { PATH: '/usr/bin:/bin', ...environment },
    timeout: 20_000,
  })
  return { stdout: stdout.toString(), stderr: stderr.toString(), exitCode }
}

test('a binary alone in an empty directory has RocksDB and libzmq inside', () => {
  const private_ = mkdtempSync(join(dir, 'tmp-'))
  const { stdout, exitCode, stderr } = run({ BUN_TMPDIR: private_ })
  expect({ stdout, stderr, exitCode }).toEqual({ stdout: '{"rocks":"value","zmq":42}\n', stderr: '', exitCode: 0 })
}, 180_000)

test('without a usable temporary directory it names the remedy', () => {
  const { stderr, exitCode } = run({ TMPDIR: join(dir, 'missing') })
  expect(exitCode).toBe(1)
  expect(stderr).toContain('BUN_TMPDIR')
}, 180_000)
