// Goal: see tour.ts. The dashboard is PocketBase's own, served by it.

import { testWithPeers } from '../support/peers.ts'
import { compareTours, type Tour } from './tour.ts'
import { collectionsTour } from './tours/collections.ts'
import { recordsTour } from './tours/records.ts'
import { sessionTour } from './tours/session.ts'
import { settingsTour } from './tours/settings.ts'

/** Two browsers' pages and two servers on a busy machine; only failures wait so long. */
const tourTimeoutMs = 180_000

const tours: Readonly<Record<string, Tour>> = {
  session: sessionTour,
  collections: collectionsTour,
  records: recordsTour,
  settings: settingsTour,
}

for (const [name, tour] of Object.entries(tours))
  testWithPeers(
    ['chromium', 'pocketbase'],
    `the official dashboard works on ours as on PocketBase: ${name}`,
    (paths) => compareTours(paths, tour),
    tourTimeoutMs,
  )
