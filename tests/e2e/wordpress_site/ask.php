<?php
// ask.php HOST PORT ROOTS PATH [BODY]: the status, the Location and the body of an answer over https, asked of this machine by the
// name; another certificate than one for it by these roots is an error.
[, $host, $port, $roots, $path] = $argv;
$http = ['header' => "Host: $host:$port\r\nContent-Type: application/x-www-form-urlencoded", 'ignore_errors' => true, 'timeout' => 30,
    'follow_location' => 0] + (isset($argv[5]) ? ['method' => 'POST', 'content' => $argv[5]] : []);
$body = file_get_contents("https://127.0.0.1:$port$path", false, stream_context_create(['http' => $http, 'ssl' => ['peer_name' => $host, 'cafile' => $roots]]));
if ($body === false) {
    exit(1);
}
$places = preg_grep('/^Location:/i', $http_response_header);
echo explode(' ', $http_response_header[0])[1], ' ', trim(substr(reset($places) ?: '', 9)), "\n", $body;
