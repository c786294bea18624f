// Goal: what a client sends may be as large as a body, what the log keeps of it may not.

import { expect, test } from 'bun:test'
import { hostOf, openTestEngine } from '../../../../test/support/engine.ts'
import { logsOf } from '../../engine/logs/log-store.ts'
import { TenantApi } from '../app.ts'
import { badRequest } from '../error-map.ts'
import type { Route } from '../router.ts'

test('an error that names what was sent is cut, and its details are left out', async () => {
  await using opened = await openTestEngine()
  const { engine } = opened
  const sent = 'x'.repeat(1_000_000)
  const fail = (message: string): Route => ({
    method: 'GET',
    path: `/api/${message.length}`,
    limit: 'path',
    handle() {
      throw badRequest(message, { name: { code: 'validation_unknown', message } })
    },
  })
  const api = new TenantApi({
    host: hostOf(engine),
    routes: [fail('Short.'), fail(sent)],
  })
  for (const length of ['Short.'.length, sent.length])
    await api.answer(new Request(`http://localhost/api/${length}`), null)
  await logsOf(engine).flush()
  const rows = engine.aux.all<{ data: string }>('SELECT data FROM `_logs` ORDER BY rowid')
  const [short, long] = rows.map(({ data }) => JSON.parse(data))
  expect(short).toMatchObject({
    error: 'Short.',
    details: { name: { code: 'validation_unknown', message: 'Short.' } },
  })
  expect([long.error.length, long.details]).toEqual([3_000, { omittedCharacters: expect.any(Number) }])
})
