/* SPDX-License-Identifier: PostgreSQL */
/*
 * kill_point: the numbered places of a role change at which a test kills.
 *
 * Of a build with -DWALFERRY_KILL_POINTS=ON the program walferry-points stops itself (SIGSTOP) at
 * the points that WALFERRY_STOP_AT names, in that order, each once: "failover:4,cut:1". It says so
 * on stderr, with its process id; SIGCONT goes on. In walferry itself a point is nothing.
 * A point stands behind an act, and before the next one that could be lost.
 */
#ifndef BASE_KILL_POINT_H
#define BASE_KILL_POINT_H

#ifdef WALFERRY_KILL_POINTS
void kill_point(const char *name);
#define KILL_POINT(name) kill_point(name)
#else
#define KILL_POINT(name) ((void)0)
#endif

#endif
