// The providers, as data. Addresses and the meaning of each answer follow the providers' own documentation; which
// addresses count as verified is the part that matters: an unverified one would let its holder into another's account.

import { isEmail } from '../../settings/formats.ts'
import { asBoolean, at, item, items, number, text } from './answer.ts'
import type { EmailRequest, IdentityContext, ProviderDefinition } from './provider.ts'

const refusedScope = (status: number) => status === 401 || status === 403 || status === 404

/** GitHub's and Gitea's list of addresses: the verified, primary one. */
const verifiedPrimaryEmail = (url: string): EmailRequest => ({
  url,
  isRefused: refusedScope,
  pick: (json) =>
    text(
      items(json).find((each) => at(each, 'verified') === true && at(each, 'primary') === true),
      'email',
    ),
})

const giteeEmail: EmailRequest = {
  url: 'https://gitee.com/api/v5/emails',
  isRefused: refusedScope,
  pick: (json) => {
    const isUsable = (each: unknown) =>
      text(each, 'state') === 'confirmed' &&
      items(at(each, 'scope')).includes('primary') &&
      isEmail(text(each, 'email'))
    return text(items(json).find(isUsable), 'email')
  },
}

/** Which claim of Microsoft's `id_token` may be believed is the admin's choice, by the name of its method. */
function microsoftEmail(json: unknown, { extra, idTokenClaims }: IdentityContext): string {
  const claims = () => idTokenClaims() ?? {}
  const primary = () => text(claims(), 'verified_primary_email')
  const withDomainOwner = () => (asBoolean(at(claims(), 'xms_edov')) ? text(claims(), 'email') : '')
  switch (extra['idTokenEmailClaim']) {
    case 'any_verified':
      return primary() || withDomainOwner()
    case 'verified_primary_email':
      return primary()
    case 'email_and_xms_edov':
      return withDomainOwner()
    case 'email':
      return text(claims(), 'email')
    default:
      return text(json, 'mail')
  }
}

/** Discord's names without a number are unique; old accounts still have one. */
function discordName(json: unknown): string {
  const globalName = text(json, 'global_name')
  if (globalName !== '') return globalName
  const discriminator = text(json, 'discriminator')
  const isLegacy = discriminator !== '' && discriminator !== '0'
  return isLegacy ? `${text(json, 'username')}#${discriminator}` : text(json, 'username')
}

const jsonPost = (query: string) => () => ({
  method: 'POST' as const,
  headers: { 'content-type': 'application/json' },
  body: JSON.stringify({ query }),
})

/** OpenID Connect's standard claims. */
const openIdIdentity: ProviderDefinition['identify'] = (json) => ({
  id: text(json, 'sub'),
  name: text(json, 'name'),
  username: text(json, 'preferred_username'),
  avatarURL: text(json, 'picture'),
  email: asBoolean(at(json, 'email_verified')) ? text(json, 'email') : '',
})

const openId = (name: string): ProviderDefinition => ({
  name,
  displayName: 'OIDC',
  order: 99,
  color: '#f78c40',
  pkce: true,
  scopes: ['openid', 'email', 'profile'],
  authURL: '',
  tokenURL: '',
  userInfoURL: '',
  idToken: { use: 'without-user-info', isExpirationRequired: false, issuers: [], jwksURL: '' },
  identify: openIdIdentity,
})

const definitions: readonly ProviderDefinition[] = [
  {
    name: 'apple',
    displayName: 'Apple',
    order: 1,
    color: '#000000',
    pkce: true,
    scopes: ['name', 'email'],
    authURL: 'https://appleid.apple.com/auth/authorize',
    tokenURL: 'https://appleid.apple.com/auth/token',
    userInfoURL: '',
    authParameters: { response_mode: 'form_post' }, // Apple's condition for sharing name and address
    idToken: {
      use: 'always',
      isExpirationRequired: true,
      issuers: ['https://appleid.apple.com'],
      jwksURL: 'https://appleid.apple.com/auth/keys',
    },
    identify: (json) => ({
      id: text(json, 'sub'),
      name: text(json, 'name'),
      email: asBoolean(at(json, 'email_verified')) ? text(json, 'email') : '',
    }),
  },
  {
    name: 'google',
    displayName: 'Google',
    order: 2,
    color: '#4285f4',
    pkce: true,
    scopes: ['https://www.googleapis.com/auth/userinfo.profile', 'https://www.googleapis.com/auth/userinfo.email'],
    authURL: 'https://accounts.google.com/o/oauth2/v2/auth',
    tokenURL: 'https://oauth2.googleapis.com/token',
    userInfoURL: 'https://www.googleapis.com/oauth2/v3/userinfo',
    identify: (json) => ({
      id: text(json, 'sub'),
      name: text(json, 'name'),
      avatarURL: text(json, 'picture'),
      email: at(json, 'email_verified') === true ? text(json, 'email') : '',
    }),
  },
  {
    name: 'microsoft',
    displayName: 'Microsoft',
    order: 3,
    color: '#0078d4',
    pkce: true,
    scopes: ['User.Read'],
    authURL: 'https://login.microsoftonline.com/common/oauth2/authorize',
    tokenURL: 'https://login.microsoftonline.com/common/oauth2/token',
    userInfoURL: 'https://graph.microsoft.com/v1.0/me',
    identify: (json, context) => ({
      id: text(json, 'id'),
      name: text(json, 'displayName'),
      email: microsoftEmail(json, context),
    }),
  },
  {
    name: 'yandex',
    displayName: 'Yandex',
    order: 4,
    color: '#fc3f1d',
    pkce: true,
    scopes: ['login:email', 'login:avatar', 'login:info'],
    authURL: 'https://oauth.yandex.com/authorize',
    tokenURL: 'https://oauth.yandex.com/token',
    userInfoURL: 'https://login.yandex.ru/info',
    identify: (json) => ({
      id: text(json, 'id'),
      name: text(json, 'real_name'),
      username: text(json, 'login'),
      email: text(json, 'default_email'),
      avatarURL:
        at(json, 'is_avatar_empty') === true
          ? ''
          : `https://avatars.yandex.net/get-yapic/${text(json, 'default_avatar_id')}/islands-200`,
    }),
  },
  {
    name: 'facebook',
    displayName: 'Facebook',
    order: 5,
    color: '#1877f2',
    pkce: true,
    scopes: ['email'],
    authURL: 'https://www.facebook.com/v3.2/dialog/oauth',
    tokenURL: 'https://graph.facebook.com/v3.2/oauth/access_token',
    userInfoURL: 'https://graph.facebook.com/me?fields=name,email,picture.type(large)',
    identify: (json) => ({
      id: text(json, 'id'),
      name: text(json, 'name'),
      email: text(json, 'email'),
      avatarURL: text(json, 'picture', 'data', 'url'),
    }),
  },
  {
    name: 'instagram2', // `instagram` was another, retired API
    displayName: 'Instagram',
    order: 6,
    color: '#e1306c',
    pkce: true,
    scopes: ['instagram_business_basic'],
    authURL: 'https://www.instagram.com/oauth/authorize',
    tokenURL: 'https://api.instagram.com/oauth/access_token',
    userInfoURL:
      'https://graph.instagram.com/me?fields=id,username,account_type,user_id,name,profile_picture_url,followers_count,follows_count,media_count',
    identify: (json) => ({
      id: text(json, 'user_id'),
      name: text(json, 'name'),
      username: text(json, 'username'),
      avatarURL: text(json, 'profile_picture_url'),
    }),
  },
  {
    name: 'github',
    displayName: 'GitHub',
    order: 7,
    color: '#24292f',
    pkce: true,
    scopes: ['read:user', 'user:email'],
    authURL: 'https://github.com/login/oauth/authorize',
    tokenURL: 'https://github.com/login/oauth/access_token',
    userInfoURL: 'https://api.github.com/user',
    identify: (json) => ({
      id: number(json, 'id'),
      name: text(json, 'name'),
      username: text(json, 'login'),
      avatarURL: text(json, 'avatar_url'),
    }),
    // The address in the profile is the public one, which an enterprise server need not have verified.
    emailRequest: ({ userInfoURL }) => verifiedPrimaryEmail(`${userInfoURL}/emails`),
  },
  {
    name: 'gitlab',
    displayName: 'GitLab',
    order: 8,
    color: '#fc6d26',
    pkce: true,
    scopes: ['read_user'],
    authURL: 'https://gitlab.com/oauth/authorize',
    tokenURL: 'https://gitlab.com/oauth/token',
    userInfoURL: 'https://gitlab.com/api/v4/user',
    identify: (json) => ({
      id: number(json, 'id'),
      name: text(json, 'name'),
      username: text(json, 'username'),
      avatarURL: text(json, 'avatar_url'),
      email: Number.isFinite(Date.parse(text(json, 'confirmed_at'))) ? text(json, 'email') : '',
    }),
  },
  {
    name: 'bitbucket',
    displayName: 'Bitbucket',
    order: 9,
    color: '#2684ff',
    pkce: false,
    scopes: ['account'],
    authURL: 'https://bitbucket.org/site/oauth2/authorize',
    tokenURL: 'https://bitbucket.org/site/oauth2/access_token',
    userInfoURL: 'https://api.bitbucket.org/2.0/user',
    identify: (json) =>
      text(json, 'account_status') === 'active'
        ? {
            id: text(json, 'uuid'),
            name: text(json, 'display_name'),
            username: text(json, 'username'),
            avatarURL: text(json, 'links', 'avatar', 'href'),
          }
        : { refused: 'the Bitbucket user is not active' },
    emailRequest: ({ userInfoURL }) => ({
      url: `${userInfoURL}/emails`,
      isRefused: (status) => status >= 400,
      pick: (json) =>
        text(
          items(at(json, 'values')).find(
            (each) => at(each, 'is_primary') === true && at(each, 'is_confirmed') === true,
          ),
          'email',
        ),
    }),
  },
  {
    name: 'gitee',
    displayName: 'Gitee',
    order: 10,
    color: '#c71d23',
    pkce: true,
    scopes: ['user_info', 'emails'],
    authURL: 'https://gitee.com/oauth/authorize',
    tokenURL: 'https://gitee.com/oauth/token',
    userInfoURL: 'https://gitee.com/api/v5/user',
    identify: (json) => ({
      id: number(json, 'id'),
      name: text(json, 'name'),
      username: text(json, 'login'),
      avatarURL: text(json, 'avatar_url'),
      email: isEmail(text(json, 'email')) ? text(json, 'email') : '', // public only once verified
    }),
    emailRequest: (_provider, { email }) => (email ? null : giteeEmail),
  },
  {
    name: 'gitea',
    displayName: 'Gitea/Forgejo',
    order: 11,
    color: '#609926',
    pkce: true,
    scopes: ['read:user', 'user:email'],
    authURL: 'https://gitea.com/login/oauth/authorize',
    tokenURL: 'https://gitea.com/login/oauth/access_token',
    userInfoURL: 'https://gitea.com/api/v1/user',
    identify: (json) =>
      at(json, 'active') === true
        ? {
            id: number(json, 'id'),
            name: text(json, 'full_name'),
            username: text(json, 'login'),
            avatarURL: text(json, 'avatar_url'),
          }
        : { refused: 'the user account is not active' },
    emailRequest: ({ userInfoURL }) => verifiedPrimaryEmail(`${userInfoURL}/emails`),
  },
  {
    name: 'discord',
    displayName: 'Discord',
    order: 12,
    color: '#5865f2',
    pkce: true,
    scopes: ['identify', 'email'],
    authURL: 'https://discord.com/api/oauth2/authorize',
    tokenURL: 'https://discord.com/api/oauth2/token',
    userInfoURL: 'https://discord.com/api/users/@me',
    identify: (json) => ({
      id: text(json, 'id'),
      name: discordName(json),
      username: text(json, 'username'),
      avatarURL:
        text(json, 'avatar') === ''
          ? ''
          : `https://cdn.discordapp.com/avatars/${text(json, 'id')}/${text(json, 'avatar')}.png`,
      email: at(json, 'verified') === true ? text(json, 'email') : '',
    }),
  },
  {
    name: 'twitter',
    displayName: 'X/Twitter',
    order: 13,
    color: '#000000',
    pkce: true,
    scopes: ['users.read', 'users.email', 'tweet.read'], // without the last one the user endpoint answers 403
    authURL: 'https://x.com/i/oauth2/authorize',
    tokenURL: 'https://api.x.com/2/oauth2/token',
    userInfoURL: 'https://api.x.com/2/users/me?user.fields=id,name,username,profile_image_url,confirmed_email',
    identify: (json) => ({
      id: text(json, 'data', 'id'),
      name: text(json, 'data', 'name'),
      username: text(json, 'data', 'username'),
      email: text(json, 'data', 'confirmed_email'),
      avatarURL: text(json, 'data', 'profile_image_url'),
    }),
  },
  {
    name: 'kakao',
    displayName: 'Kakao',
    order: 14,
    color: '#e6c800',
    pkce: true,
    scopes: ['account_email', 'profile_nickname', 'profile_image'],
    authURL: 'https://kauth.kakao.com/oauth/authorize',
    tokenURL: 'https://kauth.kakao.com/oauth/token',
    userInfoURL: 'https://kapi.kakao.com/v2/user/me',
    identify: (json) => {
      const account = at(json, 'kakao_account')
      const isVerified = at(account, 'is_email_valid') === true && at(account, 'is_email_verified') === true
      return {
        id: number(json, 'id'),
        username: text(json, 'properties', 'nickname'),
        avatarURL: text(json, 'properties', 'profile_image'),
        email: isVerified ? text(account, 'email') : '',
      }
    },
  },
  {
    name: 'vk',
    displayName: 'ВКонтакте',
    order: 15,
    color: '#0077ff',
    pkce: false,
    scopes: ['email'],
    authURL: 'https://oauth.vk.com/authorize',
    tokenURL: 'https://oauth.vk.com/access_token',
    userInfoURL: 'https://api.vk.com/method/users.get?fields=photo_max,screen_name&v=5.131',
    identify: (json, { token }) => {
      const user = item(at(json, 'response'), 0)
      if (user === undefined) return { refused: 'missing response entry' }
      return {
        id: number(user, 'id'),
        name: `${text(user, 'first_name')} ${text(user, 'last_name')}`.trim(),
        username: text(user, 'screen_name'),
        avatarURL: text(user, 'photo_max'),
        email: text(token.raw, 'email'),
      }
    },
  },
  {
    name: 'linear',
    displayName: 'Linear',
    order: 16,
    color: '#5e6ad2',
    pkce: false,
    scopes: ['read'],
    authURL: 'https://linear.app/oauth/authorize',
    tokenURL: 'https://api.linear.app/oauth/token',
    userInfoURL: 'https://api.linear.app/graphql',
    userInfoRequest: jsonPost('query Me { viewer { id displayName name email avatarUrl active } }'),
    identify: (json) => {
      const viewer = at(json, 'data', 'viewer')
      if (at(viewer, 'active') !== true) return { refused: 'the Linear user account is not active' }
      return {
        id: text(viewer, 'id'),
        name: text(viewer, 'name'),
        username: text(viewer, 'displayName'),
        email: text(viewer, 'email'),
        avatarURL: text(viewer, 'avatarUrl'),
      }
    },
  },
  {
    name: 'notion',
    displayName: 'Notion',
    order: 17,
    color: '#000000',
    pkce: true,
    scopes: [],
    authURL: 'https://api.notion.com/v1/oauth/authorize',
    tokenURL: 'https://api.notion.com/v1/oauth/token',
    userInfoURL: 'https://api.notion.com/v1/users/me',
    userInfoRequest: () => ({ headers: { 'notion-version': '2022-06-28' } }),
    identify: (json) => {
      const user = at(json, 'bot', 'owner', 'user')
      return {
        id: text(user, 'id'),
        name: text(user, 'name'),
        email: text(user, 'person', 'email'),
        avatarURL: text(user, 'avatar_url'),
      }
    },
  },
  {
    name: 'monday',
    displayName: 'monday.com',
    order: 18,
    color: '#ff3d57',
    pkce: true,
    scopes: ['me:read'],
    authURL: 'https://auth.monday.com/oauth2/authorize',
    tokenURL: 'https://auth.monday.com/oauth2/token',
    userInfoURL: 'https://api.monday.com/v2',
    userInfoRequest: jsonPost('query { me { id enabled name email is_verified photo_small }}'),
    identify: (json) => {
      const me = at(json, 'data', 'me')
      if (at(me, 'enabled') !== true) return { refused: 'the monday.com user account is not enabled' }
      return {
        id: text(me, 'id'),
        name: text(me, 'name'),
        avatarURL: text(me, 'photo_small'),
        email: at(me, 'is_verified') === true ? text(me, 'email') : '',
      }
    },
  },
  {
    name: 'lark',
    displayName: 'Lark',
    order: 19,
    color: '#3370ff',
    pkce: true,
    scopes: [],
    // The domain for China, as in Lark's own kits; elsewhere the same paths are at larksuite.com.
    authURL: 'https://accounts.feishu.cn/open-apis/authen/v1/authorize',
    tokenURL: 'https://open.feishu.cn/open-apis/authen/v2/oauth/token',
    userInfoURL: 'https://open.feishu.cn/open-apis/authen/v1/user_info',
    identify: (json) => ({
      id: text(json, 'data', 'union_id'),
      name: text(json, 'data', 'name'),
      avatarURL: text(json, 'data', 'avatar_url'),
    }),
  },
  {
    name: 'box',
    displayName: 'Box',
    order: 20,
    color: '#0061d5',
    pkce: true,
    scopes: ['root_readonly'],
    authURL: 'https://account.box.com/api/oauth2/authorize',
    tokenURL: 'https://api.box.com/oauth2/token',
    userInfoURL: 'https://api.box.com/2.0/users/me',
    identify: (json) =>
      text(json, 'status') === 'active'
        ? {
            id: text(json, 'id'),
            name: text(json, 'name'),
            avatarURL: text(json, 'avatar_url'),
            email: text(json, 'login'), // Box lets nobody authorize before the address is verified
          }
        : { refused: `Box user account is not active (status: "${text(json, 'status')}")` },
  },
  {
    name: 'spotify',
    displayName: 'Spotify',
    order: 21,
    color: '#1ed760',
    pkce: true,
    scopes: ['user-read-private'],
    authURL: 'https://accounts.spotify.com/authorize',
    tokenURL: 'https://accounts.spotify.com/api/token',
    userInfoURL: 'https://api.spotify.com/v1/me',
    // Its address is documented as unverified, hence left out.
    identify: (json) => ({
      id: text(json, 'id'),
      name: text(json, 'display_name'),
      avatarURL: text(item(at(json, 'images'), 0), 'url'),
    }),
  },
  {
    name: 'trakt',
    displayName: 'Trakt',
    order: 22,
    color: '#ed1c24',
    pkce: true,
    scopes: [],
    authURL: 'https://trakt.tv/oauth/authorize',
    tokenURL: 'https://api.trakt.tv/oauth/token',
    userInfoURL: 'https://api.trakt.tv/users/settings',
    userInfoRequest: ({ clientId }) => ({
      headers: { 'content-type': 'application/json', 'trakt-api-key': clientId, 'trakt-api-version': '2' },
    }),
    identify: (json) => ({
      id: text(json, 'user', 'ids', 'uuid'),
      username: text(json, 'user', 'username'),
      name: text(json, 'user', 'name'),
      avatarURL: text(json, 'user', 'images', 'avatar', 'full'),
    }),
  },
  {
    name: 'twitch',
    displayName: 'Twitch',
    order: 23,
    color: '#9146ff',
    pkce: true,
    scopes: ['user:read:email'],
    authURL: 'https://id.twitch.tv/oauth2/authorize',
    tokenURL: 'https://id.twitch.tv/oauth2/token',
    userInfoURL: 'https://api.twitch.tv/helix/users',
    userInfoRequest: ({ clientId }) => ({ headers: { 'client-id': clientId } }),
    identify: (json) => {
      const user = item(at(json, 'data'), 0)
      if (user === undefined) return { refused: 'failed to fetch AuthUser data' }
      return {
        id: text(user, 'id'),
        name: text(user, 'display_name'),
        username: text(user, 'login'),
        email: text(user, 'email'),
        avatarURL: text(user, 'profile_image_url'),
      }
    },
  },
  {
    name: 'patreon',
    displayName: 'Patreon',
    order: 24,
    color: '#f96854',
    pkce: true,
    scopes: ['identity', 'identity[email]'],
    authURL: 'https://www.patreon.com/oauth2/authorize',
    tokenURL: 'https://www.patreon.com/api/oauth2/token',
    userInfoURL:
      'https://www.patreon.com/api/oauth2/v2/identity?fields%5Buser%5D=full_name,email,vanity,image_url,is_email_verified',
    identify: (json) => {
      const attributes = at(json, 'data', 'attributes')
      return {
        id: text(json, 'data', 'id'),
        username: text(attributes, 'vanity'),
        name: text(attributes, 'full_name'),
        avatarURL: text(attributes, 'image_url'),
        email: at(attributes, 'is_email_verified') === true ? text(attributes, 'email') : '',
      }
    },
  },
  {
    name: 'strava',
    displayName: 'Strava',
    order: 25,
    color: '#fc4c02',
    pkce: true,
    scopes: ['profile:read_all'],
    authURL: 'https://www.strava.com/oauth/authorize',
    tokenURL: 'https://www.strava.com/api/v3/oauth/token',
    userInfoURL: 'https://www.strava.com/api/v3/athlete',
    identify: (json) => ({
      id: at(json, 'id') === 0 ? '' : number(json, 'id'),
      name: `${text(json, 'firstname')} ${text(json, 'lastname')}`,
      username: text(json, 'username'),
      avatarURL: text(json, 'profile'),
    }),
  },
  {
    name: 'wakatime',
    displayName: 'WakaTime',
    order: 26,
    color: '#000000',
    pkce: true,
    scopes: ['email'],
    authURL: 'https://wakatime.com/oauth/authorize',
    tokenURL: 'https://wakatime.com/oauth/token',
    userInfoURL: 'https://wakatime.com/api/v1/users/current',
    identify: (json) => {
      const user = at(json, 'data')
      return {
        id: text(user, 'id'),
        name: text(user, 'display_name'),
        username: text(user, 'username'),
        email: at(user, 'is_email_confirmed') === true ? text(user, 'email') : '',
        avatarURL: at(user, 'photo_public') === true ? text(user, 'photo') : '',
      }
    },
  },
  {
    name: 'livechat',
    displayName: 'LiveChat',
    order: 27,
    color: '#ff5100',
    pkce: true,
    scopes: [],
    authURL: 'https://accounts.livechat.com/',
    tokenURL: 'https://accounts.livechat.com/token',
    userInfoURL: 'https://accounts.livechat.com/v2/accounts/me',
    identify: (json) => ({
      id: text(json, 'account_id'),
      name: text(json, 'name'),
      avatarURL: text(json, 'avatar_url'),
      email: at(json, 'email_verified') === true ? text(json, 'email') : '',
    }),
  },
  {
    name: 'mailcow',
    displayName: 'mailcow',
    order: 28,
    color: '#f9b700',
    pkce: true,
    scopes: ['profile'],
    authURL: '',
    tokenURL: '',
    userInfoURL: '',
    identify: (json) =>
      at(json, 'active') === 1
        ? {
            id: text(json, 'id'),
            name: text(json, 'full_name'),
            username: text(json, 'username').split('@', 1)[0]!, // usually the address
            email: text(json, 'email'),
          }
        : { refused: 'the mailcow user is not active' },
  },
  {
    name: 'planningcenter',
    displayName: 'Planning Center',
    order: 29,
    color: '#2565f4',
    pkce: true,
    scopes: ['people'],
    authURL: 'https://api.planningcenteronline.com/oauth/authorize',
    tokenURL: 'https://api.planningcenteronline.com/oauth/token',
    userInfoURL: 'https://api.planningcenteronline.com/people/v2/me',
    identify: (json) => {
      const attributes = at(json, 'data', 'attributes')
      if (text(attributes, 'status') !== 'active') return { refused: 'the user is not active' }
      return { id: text(json, 'data', 'id'), name: text(attributes, 'name'), avatarURL: text(attributes, 'avatar') }
    },
  },
  openId('oidc'),
  openId('oidc2'),
  openId('oidc3'),
]

const byName: ReadonlyMap<string, ProviderDefinition> = new Map(definitions.map((each) => [each.name, each]))

/** All providers, in the order of lists. */
export const oauth2Providers: readonly ProviderDefinition[] = [...definitions].sort(
  (a, b) => a.order - b.order || (a.name < b.name ? -1 : 1),
)

export function findOAuth2Provider(name: string): ProviderDefinition | undefined {
  return byName.get(name)
}
