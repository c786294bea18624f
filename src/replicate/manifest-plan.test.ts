// Goal: a plan that begins with a manifest ends where the store ends and gives the bytes that a plan from the full listing
// gives, or there is none. Method: random histories with seals, merges that overlap in any way, images and deletions in two
// phases; manifests of any moment of them; hostile ones.

import { expect, test } from 'bun:test'
import fc from 'fast-check'
import type { Txid } from '../lib/brand.ts'
import type { HistoryManifest } from './history-manifest.ts'
import { isSeal, type LtxFile } from './ltx-store.ts'
import { filesFromManifest } from './manifest-plan.ts'
import { planRestore } from './restore-plan.ts'

const pagesCount = 6
const sealBytes = 131

function file(level: number, minTxid: number, maxTxid: number, sizeBytes = 1_000): LtxFile {
  return { level, minTxid: minTxid as Txid, maxTxid: maxTxid as Txid, sizeBytes, modifiedAtMs: 0 }
}

function nameOf({ level, minTxid, maxTxid }: LtxFile): string {
  return `${level}:${minTxid}-${maxTxid}`
}

function manifestOf(files: readonly LtxFile[]): HistoryManifest {
  const { txid } = planned(files)
  return {
    epoch: 1,
    tail: { txid, timestampMs: 5, checksum: '9742b4e7de7b75e0' },
    pageSize: 4_096,
    commit: pagesCount,
    files: planned(files).files.map(({ modifiedAtMs: _, ...rest }) => ({ ...rest, timestampMs: null, checksum: null })),
    candidates: null,
    retained: null,
    restoreMsMax: 0,
  }
}

function planned(files: readonly LtxFile[]) {
  const plan = planRestore(files, null)
  if (!plan.ok) throw new Error('there is no plan')
  return plan.value
}

/** What the store of one history holds, and what it held. */
class History {
  /** By TXID, from 1 on: the pages that it wrote. */
  readonly #written: (readonly number[])[] = [[], Array.from({ length: pagesCount }, (_, page) => page)]
  readonly files = new Map<string, LtxFile>()
  readonly manifests: HistoryManifest[] = []
  #candidates: LtxFile[] = []

  constructor() {
    this.#add(file(0, 1, 1))
    this.note()
  }

  get newest(): number {
    return this.#written.length - 1
  }

  get all(): LtxFile[] {
    return [...this.files.values()]
  }

  do([kind, a, b]: readonly [number, number, number]): void {
    const { newest } = this
    if (kind === 0) this.#ship([], sealBytes)
    else if (kind === 1) {
      const from = 2 + (a % newest)
      if (from <= newest) this.#add(file(1 + (b % 8), from, Math.min(newest, from + (b % 12)), 2_000))
    } else if (kind === 2) this.#add(file(9, 1, 1 + (a % newest), 9_000))
    else if (kind === 3)
      this.#candidates = this.all.filter((each, index) => this.#mayGo(each) && (a >>> (index % 8)) % 2 === 0)
    else if (kind === 4) {
      for (const each of this.#candidates) if (this.#mayGo(each)) this.files.delete(nameOf(each))
      this.#candidates = []
    } else if (kind === 5) this.note()
    else this.#ship([a % pagesCount, b % pagesCount], 1_000)
  }

  note(): void {
    this.manifests.push(manifestOf(this.all))
  }

  /** What the store lists from a manifest's tail on; all of the merges or none. */
  listedSince({ tail, files: [image] }: HistoryManifest, withMerges: boolean): LtxFile[] {
    return this.all.filter(({ level, minTxid, maxTxid }) => {
      if (level === 0) return minTxid >= tail.txid
      if (level === 9) return image!.level !== 9 || maxTxid > image!.maxTxid
      return withMerges
    })
  }

  /** By page the TXID that wrote it last. */
  content(files: readonly LtxFile[]): number[] {
    const pages = new Array<number>(pagesCount).fill(0)
    for (const { minTxid, maxTxid } of files)
      for (let txid: number = minTxid; txid <= maxTxid; txid++)
        for (const page of this.#written[txid]!) pages[page] = txid
    return pages
  }

  #ship(pages: readonly number[], sizeBytes: number): void {
    this.#written.push(pages)
    this.#add(file(0, this.newest, this.newest, sizeBytes))
  }

  #add(added: LtxFile): void {
    this.files.set(nameOf(added), added)
  }

  #mayGo(going: LtxFile): boolean {
    if (isSeal(going) || (going.level === 0 && going.maxTxid === this.newest)) return false
    const plan = planRestore(
      this.all.filter((each) => nameOf(each) !== nameOf(going)),
      null,
    )
    return plan.ok && plan.value.txid === this.newest
  }
}

const steps = fc.array(fc.tuple(fc.nat(9), fc.nat(1_000), fc.nat(1_000)), { maxLength: 120, size: 'max' })

test('from a manifest of any age: the end of the store and the same bytes, or nothing', () => {
  let used = 0
  let refused = 0
  let gone = 0
  fc.assert(
    fc.property(steps, fc.boolean(), (doing, withMerges) => {
      const history = new History()
      for (const step of doing) history.do(step)
      const { newest, all } = history
      const expected = history.content(planned(all).files)
      expect(expected).toEqual(history.content(Array.from({ length: newest }, (_, at) => file(0, at + 1, at + 1))))
      for (const manifest of history.manifests) {
        const found = filesFromManifest(manifest, history.listedSince(manifest, withMerges))
        const since = Array.from({ length: newest - manifest.tail.txid + 1 }, (_, at) => manifest.tail.txid + at)
        // It gives up for one reason alone: a slot behind the manifest is gone.
        expect(found !== null).toBe(since.every((txid) => history.files.has(`0:${txid}-${txid}`)))
        if (found === null) {
          refused++
          continue
        }
        expect([found.tail.maxTxid, found.newest.maxTxid] as number[]).toEqual([manifest.tail.txid, newest])
        const plan = planned(found.files)
        expect(plan.txid as number).toBe(newest)
        expect(new Set(found.files.map(nameOf)).size).toBe(found.files.length)
        // A file that is gone shows when it is read: then the history is listed.
        if (!plan.files.every((each) => history.files.has(nameOf(each)))) {
          gone++
          continue
        }
        expect(history.content(plan.files)).toEqual(expected)
        used++
      }
    }),
    { numRuns: 500 },
  )
  // All of it happens.
  expect(used).toBeGreaterThan(300)
  expect(refused).toBeGreaterThan(300)
  expect(gone).toBeGreaterThan(5)
})

test('a manifest that is newer than what the store lists, or speaks of nothing there, gives nothing', () => {
  const slots = [1, 2, 3, 4, 5, 6].map((txid) => file(0, txid, txid))
  const manifest = manifestOf(slots.slice(0, 4))
  const behind = (listed: LtxFile[]) => filesFromManifest(manifest, listed)?.newest.maxTxid as number | undefined
  expect(behind(slots.slice(3))).toBe(6)
  expect(behind(slots.slice(3, 4))).toBe(4)
  expect(behind([])).toBeUndefined()
  expect(behind(slots.slice(4))).toBeUndefined() // slot 4 is gone
  expect(behind(slots.slice(0, 3))).toBeUndefined() // slot 4 was never there
  expect(behind([slots[3]!, slots[5]!])).toBeUndefined()
  expect(behind([slots[3]!, file(0, 5, 6)])).toBeUndefined() // ours hold one TXID each
  expect(behind([slots[3]!, file(9, 1, 9)])).toBeUndefined() // more than the slots say
  expect(behind([slots[3]!, slots[4]!, file(1, 4, 5)])).toBe(5)
})

test('whatever a manifest names, the end is that of the slots that are listed', () => {
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(9), fc.integer({ min: 1, max: 20 }), fc.nat(8)), { minLength: 1, maxLength: 12 }),
      fc.integer({ min: 1, max: 20 }),
      fc.nat(10),
      (raw, tail, newer) => {
        const files = raw.map(([level, min, length]) => ({
          ...file(level, min, min + length),
          timestampMs: null,
          checksum: null,
        }))
        const manifest = { ...manifestOf([file(0, 1, 1)]), files }
        const slots = Array.from({ length: newer + 1 }, (_, at) => file(0, tail + at, tail + at))
        const noted = { ...manifest, tail: { ...manifest.tail, txid: tail as Txid } }
        const found = filesFromManifest(noted, slots)
        if (found === null) return
        expect(found.newest.maxTxid as number).toBe(tail + newer)
        expect(planned(found.files).txid as number).toBe(tail + newer)
      },
    ),
  )
})
