using System;
using System.Collections.Generic;
using System.Globalization;
using System.Numerics;
using Microsoft.Extensions.Options;

namespace LowLevel.Allocator.AspNetCore;

/// <summary>Says of every option that is out of its range which it is, what it is and what is allowed.</summary>
internal sealed class LowLevelMemoryPoolOptionsValidator : IValidateOptions<LowLevelMemoryPoolOptions>
{
    private const long LeastArena = 4L << 20;
    private const long MostArena = 1L << 44;
    private const int LeastBlock = 4096;
    private const int MostBlock = 1 << 20;

    public ValidateOptionsResult Validate(string? name, LowLevelMemoryPoolOptions options)
    {
        List<string> failures = [];
        Check(
            failures, options.SizeBytes is null or (>= LeastArena and <= MostArena), nameof(options.SizeBytes), options.SizeBytes,
            $"null, or {LeastArena} (4 MiB) to {MostArena} (16 TiB)");
        Check(
            failures, options.CapBytes is null || (options.CapBytes >= LeastArena && options.CapBytes <= (options.SizeBytes ?? MostArena)),
            nameof(options.CapBytes), options.CapBytes, $"null, or {LeastArena} (4 MiB) to SizeBytes ({options.SizeBytes ?? MostArena})");
        Check(
            failures, options.Delay >= TimeSpan.Zero && options.Delay <= TimeSpan.FromDays(1), nameof(options.Delay), options.Delay,
            "00:00:00 to 1.00:00:00 (one day)");
        Check(failures, Enum.IsDefined(options.HugePages), nameof(options.HugePages), options.HugePages, string.Join(", ", Enum.GetNames<HugePages>()));
        Check(
            failures, options.BlockBytes is >= LeastBlock and <= MostBlock && BitOperations.IsPow2(options.BlockBytes),
            nameof(options.BlockBytes), options.BlockBytes, $"a power of two from {LeastBlock} (4 KiB) to {MostBlock} (1 MiB)");
        return failures.Count == 0 ? ValidateOptionsResult.Success : ValidateOptionsResult.Fail(failures);
    }

    private static void Check(List<string> failures, bool fine, string option, object? value, string allowed)
    {
        if (!fine)
        {
            failures.Add(string.Create(CultureInfo.InvariantCulture, $"{nameof(LowLevelMemoryPoolOptions)}.{option} is {value}; allowed: {allowed}."));
        }
    }
}
