// The comparison as Markdown and as figures of a report.

import type { Figure } from '../report.ts'
import type { ComparedRow, Comparison, Measured, Via } from './compare.ts'

/** What is aimed at through the gateway; rows of one bcrypt comparison have their own target. */
const fleetTarget = 1.5

export function ratioOf(row: ComparedRow, via: Via): number | null {
  const [ours, theirs] = [row.by[via], row.by.PocketBase]
  return ours === undefined || theirs === undefined ? null : ours.perSecond / theirs.perSecond
}

const targetVia = (row: ComparedRow, via: Via) => (via === 'fleet' ? Math.min(row.target, fleetTarget) : row.target)

function isShort(row: ComparedRow, via: Via): boolean {
  const ratio = ratioOf(row, via)
  return ratio !== null && ratio < targetVia(row, via)
}

export function compareFigures({ rows, pinnedRows, figures }: Comparison): Figure[] {
  const of = (row: ComparedRow, suffix: string): Figure[] => [
    ...Object.entries(row.by).map(([via, { perSecond, p50Ms, p99Ms, cores, generatorCpu }]) => ({
      name: `${row.name}, ${via}${suffix}`,
      value: perSecond,
      unit: row.unit,
      note: `p50 ${p50Ms.toFixed(2)} ms, p99 ${p99Ms.toFixed(2)} ms, ${cores.toFixed(2)} cores, generator ${generatorCpu.toFixed(2)}`,
    })),
    ...(['direct', 'fleet'] as const).flatMap((via) => {
      const ratio = ratioOf(row, via)
      if (ratio === null) return []
      const note = `target ${targetVia(row, via)}${isShort(row, via) ? ', falls short' : ''}`
      return [{ name: `${row.name}, ${via} / PocketBase${suffix}`, value: ratio, unit: '×', note }]
    }),
  ]
  return [
    ...rows.flatMap((row) => of(row, '')),
    ...pinnedRows.flatMap((row) => of(row, ' (one core each)')),
    ...figures,
  ]
}

const number = (value: number) => value.toLocaleString('en', { maximumFractionDigits: value < 100 ? 1 : 0 })
const measured = (each: Measured | undefined) =>
  each === undefined ? '–' : `${number(each.perSecond)} (${each.p50Ms.toFixed(2)} / ${each.p99Ms.toFixed(1)})`

function ratio(row: ComparedRow, via: Via): string {
  const value = ratioOf(row, via)
  if (value === null) return '–'
  return isShort(row, via) ? `${value.toFixed(2)} ↓` : `**${value.toFixed(2)}**`
}

export function renderMarkdown(
  comparison: Comparison,
  about: { readonly commit: string; readonly machine: string; readonly pocketBase: string },
) {
  const { rows, pinnedRows, figures } = comparison
  const lines = [
    '# Beside PocketBase',
    '',
    `Made by \`bun run bench compare\` at ${about.commit}, on ${about.machine}. PocketBase ${about.pocketBase}, our standalone server`,
    '("direct") and an all-in-one fleet ("fleet": gateway, one worker, replication to a directory, `async`), on copies of',
    'the same data; 32 connections where a row says nothing else. Requests a second of the median round, with p50 / p99 in',
    'ms behind it. Ratios are ours over theirs; bold ones reach the target, ↓ marks those that do not.',
    'The load generator and the servers share the cores of the machine. Totals are remembered until something is written;',
    'the mixed row shows lists whose table changes all the time.',
    '',
    '| scenario | PocketBase | direct | ratio | target | fleet | ratio |',
    '|---|---|---|---|---|---|---|',
    ...rows.map((row) => {
      const { PocketBase, direct, fleet } = row.by
      return `| ${row.name} | ${measured(PocketBase)} | ${measured(direct)} | ${ratio(row, 'direct')} | ${row.target} | ${measured(fleet)} | ${ratio(row, 'fleet')} |`
    }),
  ]
  const short = rows.filter((row) => isShort(row, 'direct') || isShort(row, 'fleet'))
  if (short.length > 0)
    lines.push(
      '',
      '## What falls short',
      '',
      ...short.map((row) => `- **${row.name}**: ${row.why ?? 'the cause was not looked for yet'}`),
    )
  if (pinnedRows.length > 0)
    lines.push(
      '',
      '## One core each',
      '',
      'Server on one core, load generator on another: what a core does, without the help of a second one.',
      '',
      '| scenario | PocketBase | direct | ratio |',
      '|---|---|---|---|',
      ...pinnedRows.map(
        (row) =>
          `| ${row.name} | ${measured(row.by.PocketBase)} | ${measured(row.by.direct)} | ${ratio(row, 'direct')} |`,
      ),
    )
  if (figures.length > 0)
    lines.push(
      '',
      '## Start-up and memory',
      '',
      '| what | figure | |',
      '|---|---|---|',
      ...figures.map((each) => `| ${each.name} | ${number(each.value)} ${each.unit} | ${each.note ?? ''} |`),
    )
  return `${lines.join('\n')}\n`
}
