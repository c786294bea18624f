// Goal: the budget is never exceeded, nobody is passed over for ever, and what is too large still runs, alone.

import { expect, test } from 'bun:test'
import { ByteBudget } from './byte-budget.ts'

test('holders never have more than the budget, in the order they came', async () => {
  const budget = new ByteBudget(10)
  let held = 0
  let heldMax = 0
  const order: number[] = []
  const sizes = [6, 5, 4, 10, 1, 1, 7, 25, 3]
  await Promise.all(
    sizes.map((bytes, index) =>
      budget.take(bytes).then(async (giveBack) => {
        order.push(index)
        held += Math.min(bytes, 10)
        heldMax = Math.max(heldMax, held)
        await Promise.resolve()
        await Promise.resolve()
        held -= Math.min(bytes, 10)
        giveBack()
      }),
    ),
  )
  expect(heldMax).toBeLessThanOrEqual(10)
  expect(order).toEqual(sizes.map((_, index) => index))
  expect(budget.free).toBe(10)
})

test('giving back twice gives back once', async () => {
  const budget = new ByteBudget(10)
  const giveBack = await budget.take(4)
  expect(budget.free).toBe(6)
  giveBack()
  giveBack()
  expect(budget.free).toBe(10)
})
