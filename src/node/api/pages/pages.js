// What PocketBase's mails, redirects and the first start link to, as one page: the hash names the screen. Runs in browsers,
// asks the API of the tenant that served it, and keeps nothing.

import { call, field, finish, form, isText, linkText, make, Refusal, show } from './form.js'

/** Below this a password is taken too, but not a good one. */
const passwordLengthGood = 10
/** A backup is large, and its restore waits for requests under way, ms. */
const restoreTimeoutMs = 600_000

const apiLink = () => make('a', { href: '../api/health' }, new URL('../api/', location.href).href)

/** @returns the claims of a token that is not over, else null. Nothing is trusted: the API checks the token itself. */
function claimsOf(token) {
  try {
    const part = token.split('.')[1].replaceAll('-', '+').replaceAll('_', '/')
    const bytes = Uint8Array.from(atob(part), (char) => char.charCodeAt(0))
    const claims = JSON.parse(new TextDecoder().decode(bytes))
    return typeof claims.exp === 'number' && claims.exp * 1_000 > Date.now() ? claims : null
  } catch {
    return null // whatever stood in the address was no token
  }
}

/** @param advice where a new link comes from. */
function deadLink(advice) {
  finish('This link does not work', 'It is not valid, was used already, or has expired.', advice)
}

/**
 * What the link of a mail is about: the address that stands in its token under `claim`, and the path of its collection.
 * Null for a link that is good for nothing, which is told with `advice`.
 */
function linkOf(token, claim, advice) {
  const claims = claimsOf(token)
  if (claims !== null && isText(claims[claim]) && isText(claims.collectionId))
    return { address: claims[claim], path: `collections/${encodeURIComponent(claims.collectionId)}` }
  deadLink(advice)
  return null
}

/** Passwords twice: the API compares as well, but says so for one field only. */
const passwordFields = (label) => [
  field({
    name: 'password',
    label,
    type: 'password',
    autocomplete: 'new-password',
    help: `At least ${passwordLengthGood} characters are recommended.`,
  }),
  field({ name: 'passwordConfirm', label: `${label} again`, type: 'password', autocomplete: 'new-password' }),
]

const samePasswords = ({ password, passwordConfirm }) =>
  password === passwordConfirm ? {} : { passwordConfirm: 'The two passwords differ.' }

/** The first superuser; the token is that of the server's start. */
function installer(token) {
  if (claimsOf(token)?.type !== 'auth')
    return deadLink('Start the server again for a new one, or make a superuser on the command line.')
  const account = form({
    fields: [field({ name: 'email', label: 'E-mail', type: 'email' }), ...passwordFields('Password')],
    button: 'Create superuser',
    check: samePasswords,
    async send(values) {
      await call('collections/_superusers/records', values, { token })
      finish(
        'The superuser is made',
        `Sign in as ${values.email} with your client. The API is at:`,
        make('p', {}, apiLink()),
      )
    },
  })
  show('Create the first superuser', account, restorer(token))
}

/** The other way to begin, folded away below the form: all of a backup. */
function restorer(token) {
  const file = field({
    name: 'file',
    label: 'Backup (.zip)',
    type: 'file',
    help: 'It replaces everything that is here. Take only a backup that you trust: nothing in it is checked.',
  })
  file.input.accept = '.zip'
  const restore = form({
    fields: [file],
    button: 'Restore this backup',
    async send() {
      const upload = new FormData()
      const chosen = file.input.files[0]
      upload.set('file', chosen)
      await call('backups/upload', upload, { token, timeoutMs: restoreTimeoutMs })
      await call(`backups/${encodeURIComponent(chosen.name)}/restore`, {}, { token, timeoutMs: restoreTimeoutMs })
      finish(
        'The backup is being restored',
        'Its superusers can sign in when that is done. The API is at:',
        make('p', {}, apiLink()),
      )
    },
  })
  return make('details', {}, make('summary', {}, 'Start from a backup instead'), restore)
}

function confirmPasswordReset(token) {
  const link = linkOf(token, 'email', 'Ask for a new mail where you wanted to sign in.')
  if (link === null) return
  show(
    'Set a new password',
    make('p', {}, 'For ', make('strong', {}, link.address)),
    form({
      fields: passwordFields('New password'),
      button: 'Set new password',
      check: samePasswords,
      async send(values) {
        await call(`${link.path}/confirm-password-reset`, { token, ...values })
        finish('The password is changed', 'You can go back and sign in with it.')
      },
    }),
  )
}

/** Asks at once: the link itself is the consent. */
async function confirmVerification(token) {
  const link = linkOf(token, 'email', 'Ask for a new mail in the app.')
  if (link === null) return
  show('Confirming your address', make('p', { role: 'status' }, link.address))
  try {
    await call(`${link.path}/confirm-verification`, { token })
    finish('The address is confirmed', link.address)
  } catch (error) {
    const again = form({
      fields: [],
      button: 'Send a new mail',
      async send() {
        await call(`${link.path}/request-verification`, { email: link.address })
        finish('A new mail is on its way', `Look for it at ${link.address}.`)
      },
    })
    finish(
      'The address is not confirmed',
      error instanceof Refusal && error.status < 500 ? linkText : error.message,
      again,
    )
  }
}

function confirmEmailChange(token) {
  const link = linkOf(token, 'newEmail', 'Ask for the change again in the app.')
  if (link === null) return
  show(
    'Change your e-mail address',
    make('p', {}, 'The new one is ', make('strong', {}, link.address)),
    form({
      fields: [field({ name: 'password', label: 'Your password', type: 'password', autocomplete: 'current-password' })],
      button: 'Change address',
      async send({ password }) {
        await call(`${link.path}/confirm-email-change`, { token, password })
        finish('The address is changed', 'You can go back and sign in with it.')
      },
    }),
  )
}

function requestPasswordReset() {
  show(
    'Forgotten superuser password',
    form({
      fields: [field({ name: 'email', label: 'E-mail', type: 'email', autocomplete: 'username' })],
      button: 'Send a mail',
      async send({ email }) {
        await call('collections/_superusers/request-password-reset', { email })
        finish('Look for a mail', `If ${email} belongs to a superuser, it holds a link for a new password.`)
      },
    }),
  )
}

/** @param outcome what the window that the app opened for signing in is for no longer. */
function signedIn(outcome) {
  window.close() // works where a script has opened it
  finish(outcome, 'You can close this window and go back to the app.')
}

/** Whatever else PocketBase's dashboard would show. */
function nothingHere() {
  show(
    'There is no dashboard here yet',
    make(
      'p',
      {},
      'This version of Pocketfleet has no dashboard. Superusers use the API, with any client of PocketBase:',
    ),
    make('p', {}, apiLink()),
    make('p', {}, make('a', { href: '#/request-password-reset' }, 'Forgotten superuser password')),
  )
}

/** By the hash of the address. */
const screens = [
  [/^#\/pbinstall\/([^/]+)$/, installer],
  [/^#\/auth\/confirm-password-reset\/([^/]+)$/, confirmPasswordReset],
  [/^#\/auth\/confirm-verification\/([^/]+)$/, confirmVerification],
  [/^#\/auth\/confirm-email-change\/([^/]+)$/, confirmEmailChange],
  [/^#\/auth\/oauth2-redirect-success$/, () => signedIn('You are signed in')],
  [/^#\/auth\/oauth2-redirect-failure$/, () => signedIn('Signing in did not work')],
  [/^#\/request-password-reset$/, requestPasswordReset],
]

function route() {
  for (const [pattern, screen] of screens) {
    const match = pattern.exec(location.hash.split('?')[0])
    if (match !== null) return screen(match[1])
  }
  nothingHere()
}

window.addEventListener('hashchange', route)
route()
