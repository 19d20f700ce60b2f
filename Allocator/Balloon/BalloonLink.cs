using System;
namespace LowLevel.Allocator;
internal static class BalloonLink { public static IBalloonLink Create(PageArena arena, PageArenaOptions options) => throw new NotImplementedException(arena.ToString() + options); }
