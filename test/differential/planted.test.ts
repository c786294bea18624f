// Goal: the bugs that show that the differential test can fail can still be planted. Whether each is found is a long test
// (`bun run test:long planted`).

import { expect, test } from 'bun:test'
import { plantedCount, unplantable } from './planted.ts'

test('every planted bug has its place in the source', () => {
  expect(plantedCount).toBeGreaterThan(10)
  expect(unplantable()).toEqual([])
})
