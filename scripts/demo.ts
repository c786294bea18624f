// `bun run demo [--binary] [--keep]`: the main job in a temporary directory, each step with its time.

import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { renderTable } from '../src/cli/output.ts'
import { type DemoStep, runDemo } from '../test/support/demo.ts'
import { repository } from '../test/support/fleet.ts'

const flags = process.argv.slice(2)
const unknown = flags.find((flag) => !['--binary', '--keep', '--help'].includes(flag))
if (unknown !== undefined || flags.includes('--help')) {
  if (unknown !== undefined) console.error(`unknown flag ${unknown}`)
  console.log(
    'usage: bun run demo [--binary] [--keep]\n  --binary  run dist/pocketfleet (bun run build first)\n  --keep    keep the directory',
  )
  process.exit(unknown === undefined ? 0 : 2)
}
const kind = flags.includes('--binary') ? 'binary' : 'source'
if (kind === 'binary' && !existsSync(join(repository, 'dist/pocketfleet'))) {
  console.error('dist/pocketfleet does not exist: run `bun run build` first')
  process.exit(2)
}
const dir = mkdtempSync(join(tmpdir(), 'pocketfleet-demo-'))
const formatMs = (ms: number) => (ms < 1_000 ? `${ms.toFixed(0)} ms` : `${(ms / 1_000).toFixed(1)} s`)
try {
  console.log(`Pocketfleet demo, ${kind}, in ${dir}\n`)
  const steps = await runDemo({
    dir,
    kind,
    onStep: (step) => console.log(`✓ ${step.title.padEnd(44)} ${formatMs(step.ms).padStart(8)}   ${step.detail}`),
  })
  const total: DemoStep = { title: 'total', detail: '', ms: steps.reduce((sum, step) => sum + step.ms, 0) }
  console.log(
    `\n${renderTable(
      [...steps, total],
      [
        { title: 'step', text: (step) => step.title },
        { title: 'time', text: (step) => formatMs(step.ms) },
        { title: 'result', text: (step) => step.detail },
      ],
    )}\n\nNothing was lost.`,
  )
} catch (error) {
  console.error(`\n✗ ${error instanceof Error ? error.message : error}`)
  process.exitCode = 1
} finally {
  if (flags.includes('--keep')) console.log(`kept ${dir}`)
  else rmSync(dir, { recursive: true, force: true })
}
