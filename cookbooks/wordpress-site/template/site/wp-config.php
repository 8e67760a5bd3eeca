<?php
// Written by trees from a template of the cookbook wordpress-site: change the tree, not this file. The password and the
// keys are not here but in the environment of the process.

$site = json_decode(<<<'JSON'
{{ site | json }}
JSON, true);

define('SITE_TITLE', $site['title']);
define('SITE_DATA', (string) getenv('SITE_DATA'));

define('DB_NAME', $site['database']);
define('DB_USER', $site['database']);
define('DB_PASSWORD', (string) getenv('DB_PASSWORD'));
define('DB_HOST', $site['server'][0] === '/' ? 'localhost:' . $site['server'] : $site['server']);
define('DB_CHARSET', 'utf8mb4');
define('DB_COLLATE', '');
$table_prefix = 'wp_';

foreach (['AUTH', 'SECURE_AUTH', 'LOGGED_IN', 'NONCE'] as $part) {
    define("{$part}_KEY", hash_hmac('sha256', "{$part}_KEY", (string) getenv('SITE_KEY')));
    define("{$part}_SALT", hash_hmac('sha256', "{$part}_SALT", (string) getenv('SITE_KEY')));
}

define('WP_HOME', $site['url']);
define('WP_SITEURL', $site['url']);
define('FORCE_SSL_ADMIN', str_starts_with($site['url'], 'https:'));

// A release is what the tree made: WordPress changes no file of it.
define('DISALLOW_FILE_MODS', true);
define('AUTOMATIC_UPDATER_DISABLED', true);
define('WP_HTTP_BLOCK_EXTERNAL', !$site['outside']);
define('WP_DEBUG', false);

// nginx stands before this process, which listens on this machine only.
$_SERVER['HTTP_HOST'] = preg_replace('#^https?://#', '', $site['url']);
if (($_SERVER['HTTP_X_FORWARDED_PROTO'] ?? '') === 'https') {
    $_SERVER['HTTPS'] = 'on';
}
if (isset($_SERVER['HTTP_X_REAL_IP'])) {
    $_SERVER['REMOTE_ADDR'] = $_SERVER['HTTP_X_REAL_IP'];
}

defined('ABSPATH') || define('ABSPATH', __DIR__ . '/');
require_once ABSPATH . 'wp-settings.php';
