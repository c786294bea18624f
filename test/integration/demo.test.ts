// Goal: the main job works, from source with objects in a directory. Method: `bun run demo`, in a fresh directory.

import { expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { runDemo } from '../support/demo.ts'

test('a fleet survives the loss of its machine, and a tenant the loss of its fleet', async () => {
  const dir = mkdtempSync(join(tmpdir(), 'pf-demo-'))
  try {
    const steps = await runDemo({ dir, kind: 'source' })
    expect(steps.map((step) => step.title)).toContain('everything is there, once more')
  } finally {
    rmSync(dir, { recursive: true, force: true })
  }
}, 180_000)
