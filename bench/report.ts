// How results are kept: one JSON file a run under `bench/results/`, with commit, machine and versions.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs'
import { cpus, totalmem } from 'node:os'
import { join } from 'node:path'
import { renderTable } from '../src/cli/output.ts'
import { version } from '../src/version.ts'
import { peerVersions } from '../test/support/peers.ts'

export interface Figure {
  readonly name: string
  readonly value: number
  readonly unit: string
  readonly note?: string
}

export interface Report {
  readonly kind: string
  readonly startedAt: string
  readonly endedAt: string
  /** At the start. */
  readonly commit: string
  /** Uncommitted changes were present at the start or at the end, or another commit was. */
  readonly dirty: boolean
  readonly versions: Readonly<Record<string, string>>
  readonly machine: Readonly<Record<string, string | number>>
  readonly figures: readonly Figure[]
  readonly details?: unknown
}

const folder = join(import.meta.dir, 'results')

function git(...args: string[]): string {
  return Bun.spawnSync(['git', ...args], { cwd: import.meta.dir })
    .stdout.toString()
    .trim()
}

const state = () => ({
  commit: git('rev-parse', '--short=10', 'HEAD'),
  isClean: git('status', '--porcelain', '--untracked-files=no') === '',
})
/** What this process has loaded; by the end of a long run others may have committed. */
const atStart = state()

/** Writes the report and returns its path; the name holds kind, start and commit, so that no run overwrites another. */
export function storeReport(kind: string, startedAt: Date, figures: readonly Figure[], details?: unknown): string {
  const { commit } = atStart
  const atEnd = state()
  const report: Report = {
    kind,
    startedAt: startedAt.toISOString(),
    endedAt: new Date().toISOString(),
    commit,
    dirty: !atStart.isClean || !atEnd.isClean || atEnd.commit !== commit,
    versions: { pocketfleet: version, bun: Bun.version, ...peerVersions() },
    machine: {
      cpu: cpus()[0]?.model ?? 'unknown',
      cores: cpus().length,
      memoryBytes: totalmem(),
      kernel: readFileSync('/proc/version', 'utf8').split(' ')[2] ?? 'unknown',
    },
    figures,
    ...(details !== undefined && { details }),
  }
  mkdirSync(folder, { recursive: true })
  const path = join(folder, `${kind}-${startedAt.toISOString().slice(0, 19).replaceAll(':', '')}-${commit}.json`)
  writeFileSync(path, `${JSON.stringify(report, null, 2)}\n`)
  return path
}

export function formatValue({ value, unit }: Figure): string {
  const digits = value >= 1_000 ? 0 : value >= 10 ? 1 : 2
  return `${value.toLocaleString('en', { maximumFractionDigits: digits })} ${unit}`
}

export function renderFigures(figures: readonly Figure[]): string {
  return renderTable(figures, [
    { title: 'what', text: (each) => each.name },
    { title: 'figure', text: formatValue },
    { title: 'note', text: (each) => each.note ?? '' },
  ])
}
