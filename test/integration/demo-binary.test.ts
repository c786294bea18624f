// Goal: the compiled binary does everything the source does. Method: build it, copy it away from the repository, and
// run the main job with it from an empty directory.

import { expect, test } from 'bun:test'
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runDemo } from '../support/demo.ts'
import { repository } from '../support/fleet.ts'

test('the binary runs the main job from an empty directory', async () => {
  const built = Bun.spawnSync([process.execPath, join(repository, 'scripts/build.ts')], { cwd: repository })
  expect(built.stderr.toString() + built.exitCode).toEndWith('0')
  const dir = mkdtempSync(join(tmpdir(), 'pf-demo-binary-'))
  try {
    const cwd = join(dir, 'empty')
    mkdirSync(cwd)
    const steps = await runDemo({ dir: join(dir, 'fleet'), kind: 'binary', cwd })
    expect(steps.at(-1)?.title).toBe('stop gracefully')
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}, 240_000)
