// Goal: handlers wrap the operation in order, may stop it, and cost nothing when there are none.

import { expect, test } from 'bun:test'
import { type ChainEvent, HookChain } from './hook-chain.ts'

const event = (): ChainEvent => ({ next() {} })

test('handlers wrap the finalizer by priority, then by order of binding', async () => {
  const chain = new HookChain<ChainEvent>()
  const seen: string[] = []
  const bind = (id: string, priority: number) =>
    chain.bind({
      id,
      priority,
      handle: async (e) => {
        seen.push(`${id} in`)
        await e.next()
        seen.push(`${id} out`)
      },
    })
  bind('b', 0)
  bind('c', 0)
  bind('a', -1)
  await chain.trigger(event(), () => {
    seen.push('done')
  })
  expect(seen).toEqual(['a in', 'b in', 'c in', 'done', 'c out', 'b out', 'a out'])
})

test('a handler that does not call next stops the operation', async () => {
  const chain = new HookChain<ChainEvent>()
  const unbind = chain.bind({ id: 'stop', handle() {} })
  let ran = 0
  const finish = () => {
    ran++
  }
  await chain.trigger(event(), finish)
  expect(ran).toBe(0)
  unbind()
  expect(chain.trigger(event(), finish)).toBeUndefined()
  expect(ran).toBe(1)
})

test('tags choose, errors reach the caller, an id is bound once', async () => {
  const chain = new HookChain<ChainEvent>()
  chain.bind({ id: 'x', tags: ['posts'], handle: () => Promise.reject(new Error('no')) })
  chain.bind({ id: 'x', tags: ['posts'], handle: () => Promise.reject(new Error('no posts')) })
  await chain.trigger(event(), () => {}, ['users'])
  await expect(chain.trigger(event(), () => {}, ['posts', 'id1'])).rejects.toThrow('no posts')
})
