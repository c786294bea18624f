// `bun run bench compare [--quick] [--only=WORDS]`: the comparison with PocketBase as a table, stored as JSON and Markdown.

import { writeFileSync } from 'node:fs'
import { cpus } from 'node:os'
import { join } from 'node:path'
import { peerVersions } from '../../test/support/peers.ts'
import { renderFigures, storeReport } from '../report.ts'
import { compare, fullCompare, quickCompare } from './compare.ts'
import { compareFigures, renderMarkdown } from './table.ts'

export async function runCompare(args: readonly string[]): Promise<void> {
  const isQuick = args.includes('--quick')
  const only = args.flatMap((arg) => (arg.startsWith('--only=') ? arg.slice(7).split(';') : []))
  const unknown = args.find((arg) => arg !== '--quick' && !arg.startsWith('--only='))
  if (unknown !== undefined) {
    console.error(`unknown option ${unknown}; there are --quick and --only=WORDS[;WORDS…]`)
    process.exit(2)
  }
  // Start-up is measured of the executable too, which must be of this commit.
  const built = Bun.spawnSync([process.execPath, join(import.meta.dir, '../../scripts/build.ts')])
  if (built.exitCode !== 0) throw new Error(`the executable could not be built: ${built.stderr}`)
  const startedAt = new Date()
  const comparison = await compare(isQuick ? quickCompare : fullCompare, only)
  const figures = compareFigures(comparison)
  if (figures.length === 0) {
    console.error(`no scenario has ${only.join(' or ')} in its name`)
    process.exit(2)
  }
  console.log(renderFigures(figures))
  const path = storeReport('compare', startedAt, figures, { isQuick, only })
  const commit = path.slice(path.lastIndexOf('-') + 1, -'.json'.length)
  const machine = `${cpus().length} cores of ${cpus()[0]?.model ?? 'an unknown processor'}`
  const markdown = path.replace(/json$/, 'md')
  writeFileSync(
    markdown,
    renderMarkdown(comparison, { commit, machine, pocketBase: peerVersions()['base'] ?? 'of an unknown version' }),
  )
  console.log(`stored ${path} and ${markdown}`)
}
