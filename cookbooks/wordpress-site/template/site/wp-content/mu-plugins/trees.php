<?php
/*
Plugin Name: What the tree says
Description: The title of the site, and where uploads are kept: outside of the release.
*/

add_filter('pre_option_blogname', fn () => esc_html(SITE_TITLE));

add_filter('upload_dir', function (array $place): array {
    $place['basedir'] = SITE_DATA . '/uploads';
    $place['path'] = $place['basedir'] . $place['subdir'];
    return $place;
});

add_action('wp_head', function (): void {
    printf("<meta name=\"application-name\" content=\"%s\">\n", esc_attr(SITE_TITLE));
});
