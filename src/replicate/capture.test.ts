import { expect, test } from 'bun:test'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Txid } from '../lib/brand.ts'
import { fillGrowth } from './capture.ts'
import { decodeLocalState, readLocalState, writeLocalState } from './local-state.ts'

test('pages by which the database grew without a frame come from its image; others are left alone', () => {
  const pageSize = 512
  const image = new Uint8Array(10 * pageSize)
  for (let pgno = 1; pgno <= 10; pgno++) image.fill(pgno, (pgno - 1) * pageSize, pgno * pageSize)
  let imagesTaken = 0
  const source = {
    pageSize,
    image: () => {
      imagesTaken++
      return image
    },
  }
  const pages = new Map([
    [2, new Uint8Array(pageSize)],
    [7, new Uint8Array(pageSize)],
    [10, new Uint8Array(pageSize)],
  ])
  fillGrowth(pages, 10, 6, source)
  expect([...pages.keys()].sort((a, b) => a - b)).toEqual([2, 7, 8, 9, 10])
  expect(pages.get(8)).toEqual(new Uint8Array(pageSize).fill(8))
  expect(pages.get(7)).toEqual(new Uint8Array(pageSize)) // the frame is newer
  expect(imagesTaken).toBe(1)
  fillGrowth(pages, 10, 6, source)
  fillGrowth(new Map(), 4, 6, source)
  expect(imagesTaken).toBe(1)
})

test('the state beside a file survives a round trip, and anything else counts as none', () => {
  const dir = mkdtempSync(join(tmpdir(), 'pf-state-'))
  try {
    const path = join(dir, 'data.db')
    expect(readLocalState(path)).toBeNull()
    const position = { salt1: 0xffffffff, salt2: 1, offset: 4_152, checksum: { s0: 3, s1: 0xfffffffe } }
    const first = { txid: 7 as Txid, checksum: 0xb1244f124ecec142n, mark: null }
    const second = { txid: 8 as Txid, checksum: 0x8000000000000001n, mark: { position, isCheckpointed: true } }
    writeLocalState(path, [first, second])
    expect(readLocalState(path)).toEqual([first, second])
    writeLocalState(path, [second])
    expect(readLocalState(path)).toEqual([second])
  } finally {
    rmSync(dir, { recursive: true })
  }
  const point = { txid: 1, checksum: 'ff', mark: null }
  expect(decodeLocalState(JSON.stringify({ version: 1, points: [point] }))).not.toBeNull()
  for (const bad of [
    '',
    '{"version":1',
    'null',
    '[]',
    JSON.stringify({ version: 2, points: [point] }),
    JSON.stringify({ version: 1, points: [] }),
    JSON.stringify({ version: 1, points: [point, point, point] }),
    JSON.stringify({ version: 1, points: [point, { ...point, txid: 0 }] }),
    JSON.stringify({ version: 1, points: [{ ...point, checksum: 'xyz' }] }),
    JSON.stringify({ version: 1, points: [{ ...point, mark: { isCheckpointed: true } }] }),
    JSON.stringify({ version: 1, points: [{ ...point, mark: { isCheckpointed: true, position: { salt1: -1 } } }] }),
  ])
    expect(decodeLocalState(bad)).toBeNull()
})
