// The figures that are aimed at, beside those of official Litestream, as Markdown.

import { type Figure, formatValue } from '../report.ts'

interface Aim {
  readonly what: string
  /** Names of figures. */
  readonly ours: string
  /** What it is compared with; null: with a number alone. */
  readonly beside: string | null
  readonly text: string
  isMet(ours: number, beside: number): boolean
}

const stores = ['directory', 'MinIO'] as const
const atMost = (limit: number) => (ours: number) => ours <= limit
const noSlower = (ours: number, beside: number) => ours <= beside

function restoreAim(size: string, store: string, times: number): Aim {
  const at = `restore of ${size}, ${store}`
  return {
    what: at,
    ours: `${at}: ours`,
    beside: `${at}: Litestream`,
    text: `${times} times as fast`,
    isMet: (ours, beside) => beside / ours >= times,
  }
}

const lag = 'lag from commit to object'
const shipped = '200 MB written and shipped, directory'
const aims: readonly Aim[] = [
  ...stores.flatMap((store) => [
    restoreAim('1 GB', store, 3),
    restoreAim('100 MB', store, 1),
    restoreAim('1 MB', store, 1),
  ]),
  {
    what: 'capture, WAL to LTX, one core',
    ours: 'capture, WAL to LTX, one core: ours',
    beside: null,
    text: '100 MB/s',
    isMet: (ours) => ours >= 100,
  },
  {
    what: shipped,
    ours: `${shipped}: ours`,
    beside: `${shipped}: Litestream`,
    text: 'as fast',
    isMet: (ours, beside) => ours >= beside,
  },
  {
    what: `${shipped}: CPU`,
    ours: `${shipped}: CPU of ours`,
    beside: `${shipped}: CPU of Litestream`,
    text: 'no more',
    isMet: noSlower,
  },
  ...stores.flatMap((store) =>
    ['p50', 'p99'].map((quantile) => ({
      what: `sync ack, ${store}: ${quantile}, beside a bare PUT`,
      ours: `sync ack, ${store}: ${quantile}, ours`,
      beside: `sync ack, ${store}: ${quantile}, bare PUT`,
      text: 'PUT + 10 ms',
      isMet: (ours: number, beside: number) => ours <= beside + 10,
    })),
  ),
  {
    what: `${lag}: p50`,
    ours: `${lag}: p50, ours`,
    beside: `${lag}: p50, Litestream`,
    text: '300 ms',
    isMet: atMost(300),
  },
  {
    what: `${lag}: p99`,
    ours: `${lag}: p99, ours`,
    beside: `${lag}: p99, Litestream`,
    text: '1 s',
    isMet: atMost(1_000),
  },
  ...stores.flatMap((store) => [
    {
      what: `cold open of 1 MB, ${store}: p50`,
      ours: `cold open of 1 MB, ${store}: p50`,
      beside: null,
      text: '100 ms',
      isMet: atMost(100),
    },
    {
      what: `cold open of 1 MB, ${store}: requests`,
      ours: `cold open of 1 MB, ${store}: requests`,
      beside: null,
      text: '4',
      isMet: atMost(4),
    },
  ]),
  {
    what: 'requests an hour, idle',
    ours: 'requests an hour, idle: ours',
    beside: 'requests an hour, idle: Litestream',
    text: '0',
    isMet: atMost(0),
  },
  {
    what: 'memory, 10,000 databases attached and at rest',
    ours: 'memory, 10,000 databases attached and at rest: ours',
    beside: null,
    text: '100 MB',
    isMet: atMost(100),
  },
  {
    what: 'memory, 1000 databases open',
    ours: 'memory, 1000 databases open and attached: ours',
    beside: 'memory, 1000 databases: Litestream',
    text: 'no more',
    isMet: noSlower,
  },
]

const isRate = ({ unit }: Figure) => unit.endsWith('/s')

export function renderAims(
  figures: readonly Figure[],
  about: { readonly commit: string; readonly machine: string; readonly litestream: string },
): string {
  const named = new Map(figures.map((each) => [each.name, each]))
  const rows = aims.flatMap(({ what, ours: name, beside: other, text, isMet }) => {
    const ours = named.get(name)
    const beside = other === null ? null : named.get(other)
    if (ours === undefined || beside === undefined) return [] // that peer is not installed, or this run is a small one
    const ratio = beside === null ? null : isRate(ours) ? ours.value / beside.value : beside.value / ours.value
    const times = ratio === null || !Number.isFinite(ratio) ? '–' : `${ratio.toFixed(2)} ×`
    const verdict = isMet(ours.value, beside?.value ?? 0) ? 'yes' : '**no** ↓'
    const facts = [what, formatValue(ours), beside === null ? '–' : formatValue(beside), times, text, verdict]
    return [`| ${facts.join(' | ')} |`]
  })
  const lines = [
    '# Beside Litestream',
    '',
    `Made by \`bun run bench replication\` at ${about.commit}, on ${about.machine}, which all programs share. Litestream`,
    `${about.litestream}, the same data and the same stores in one run. A ratio above 1 says that ours does better.`,
    '',
    '| what | ours | beside | ratio | aim | reached |',
    '|---|---|---|---|---|---|',
    ...rows,
    '',
    'All figures with their notes stand in the JSON file of the same name.',
  ]
  return `${lines.join('\n')}\n`
}
