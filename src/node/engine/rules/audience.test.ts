// Goal: clients are judged together only where no rule could tell them apart.

import { expect, test } from 'bun:test'
import { audienceOf, followsPaths } from './audience.ts'

test('what a rule can tell apart', () => {
  const expected = {
    '': 'all',
    'public = true && title ~ "x"': 'all',
    '@request.query.a = "@request.auth.id"': 'all',
    '@collection.posts.owner ?= owner': 'all',
    '@request.auth.id != ""': 'signed_in',
    'public = true || (open = 1 && "" = @request.auth.id)': 'signed_in',
    "@request.auth.id ?!= ''": 'signed_in',
    '@request.auth.collectionName = "users"': 'collection',
    '@request.auth.id != "" && @request.auth.collectionId = "x"': 'collection',
    'owner = @request.auth.id': 'each',
    '@request.auth.id != "" && owner = @request.auth.id': 'each',
    '@request.auth.id > ""': 'each',
    '@request.auth.id = "x"': 'each',
    '@request.auth.id:lower = ""': 'each',
    '@request.auth.id.x = ""': 'each',
    '@request.auth.role = ""': 'each',
    '@request.auth.email = ""': 'each',
    '@request.auth = ""': 'each',
    'geoDistance(a.lon, a.lat, @request.auth.lon, 1) < 5': 'each',
    'title = "': 'each',
  } as const
  for (const [rule, audience] of Object.entries(expected)) expect([rule, audienceOf(rule)]).toEqual([rule, audience])
})

test('of several texts the finest counts', () => {
  expect(audienceOf('', 'a = 1')).toBe('all')
  expect(audienceOf('', '@request.auth.id != ""')).toBe('signed_in')
  expect(audienceOf('owner = @request.auth.id', '@request.auth.id != ""')).toBe('each')
})

test('what reaches beyond the record', () => {
  for (const filter of ['', 'a = 1', 'a = "b.c"', 'a = 1.5 || (b ~ "x" && c != null)'])
    expect([filter, followsPaths(filter)]).toEqual([filter, false])
  for (const filter of [
    'own.diary = 1',
    'a = 1 && (b = 2 || 3 = own.diary)',
    'strftime("%Y", own.made) = "2024"',
    'a.',
  ])
    expect([filter, followsPaths(filter)]).toEqual([filter, true])
})
